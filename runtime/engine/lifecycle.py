"""Starting, watching and ending the processes of containers."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread

from runtime.container import logs
from runtime.container.health import Health, HealthCheck
from runtime.container.restart import next_delay
from runtime.container.spec import MountPoint, Place, build
from runtime.engine.events import EventBus
from runtime.engine.hosts import hosts_file, resolv_conf
from runtime.engine.state import EXITED, PAUSED, RESTARTING, RUNNING, Container, parse_rfc3339, rfc3339
from runtime.errors import ConflictError, KernelError, SkiffError
from runtime.image.images import Images
from runtime.keeper.client import Keeper, KeptProcess, LaunchError, ProcessExit
from runtime.network.model import EndpointSettings
from runtime.network.names import RESOLVER_ADDRESS, default_resolvers
from runtime.network.networks import Networks
from runtime.network.ports import PortBinding, parse_bindings
from runtime.network.resolver import host_resolvers, host_search
from runtime.paths import Paths
from runtime.store import Collection
from runtime.volume.volumes import Volumes

STOP_TIMEOUT_S = 10.0


class Lifecycle:
    """Moves containers between their states; every move is written to the store before it is told."""

    def __init__(
        self,
        paths: Paths,
        rows: Collection,
        keeper: Keeper,
        images: Images,
        networks: Networks,
        volumes: Volumes,
        events: EventBus,
        group: anyio.abc.TaskGroup,
    ) -> None:
        self._paths = paths
        self._rows = rows
        self._keeper = keeper
        self._images = images
        self._networks = networks
        self._volumes = volumes
        self._events = events
        self._group = group

    def find(self, name: str) -> Container:
        """Return the container that `name` means; defined by the owner of the containers."""
        raise NotImplementedError

    def all(self) -> list[Container]:
        """Return all containers; defined by their owner."""
        raise NotImplementedError

    def save(self, container: Container) -> None:
        """Write the container to the store and wake who waits for it."""
        self._rows.put(container.id, container.document(), container.name)
        container.notify()

    def tell(self, container: Container, action: str, **attributes: str) -> None:
        """Emit an event of the container."""
        self._events.emit(
            "container",
            action,
            container.id,
            {**container.labels, "image": container.image_name, "name": container.name, **attributes},
        )

    # --- start

    async def start(self, container: Container) -> None:
        """Start the container's process; returns when it executes. Raises LaunchError, ConflictError, …"""
        async with container.lock:
            if container.is_running:
                return
            directory = self._paths.container(container.id)
            container.state.stopped_by_user = False
            try:
                with anyio.CancelScope(shield=True):
                    network = await self._join_networks(container, directory)
                    bundle = self._paths.bundles / container.id
                    await anyio.to_thread.run_sync(self._prepare, container, directory, bundle)
                    document = build(container.config, container.host, self._place(container, directory, network))
                    process = await self._keeper.launch(
                        container.id, bundle, document, stdin=bool(container.config.get("OpenStdin"))
                    )
            except BaseException as error:
                with anyio.CancelScope(shield=True):
                    await self._leave_networks(container)
                container.state.error = str(error)
                container.state.exit_code = error.exit_code if isinstance(error, LaunchError) else 128
                if container.state.status == RESTARTING:
                    container.state.status = EXITED
                self.save(container)
                if container.host.get("AutoRemove"):
                    self._group.start_soon(self._auto_remove, container)
                raise
            container.state.status = RUNNING
            container.state.pid = process.pid
            container.state.error = ""
            container.state.oom_killed = False
            container.state.started_at = rfc3339(process.started_at_ns)
            self._attend(container, process)
            self.save(container)
            self.tell(container, "start")

    def _prepare(self, container: Container, directory: Path, bundle: Path) -> None:
        for name in ("upper", "work"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        bundle.mkdir(parents=True, exist_ok=True)
        if container.host.get("IpcMode") == "shareable":
            (directory / "shm").mkdir(exist_ok=True)

    def _place(self, container: Container, directory: Path, network: Path | None) -> Place:
        image = self._images.resolve(container.image_id)
        namespaces: dict[str, str] = {}
        if network is not None:
            namespaces["network"] = str(network)
        for kind, mode in (("pid", "PidMode"), ("ipc", "IpcMode")):
            value = container.host.get(mode) or ""
            if value.startswith("container:"):
                other = self.find(value.partition(":")[2])
                if not other.is_running:
                    raise ConflictError(f"cannot join {kind} of a non running container: {other.name}")
                namespaces[kind] = f"/proc/{other.state.pid}/ns/{kind}"
                if kind == "ipc":
                    namespaces["shm"] = f"/proc/{other.state.pid}/root/dev/shm"
        files = {}
        if (container.host.get("NetworkMode") or "") != "none":
            files = {f"/etc/{name}": directory / name for name in ("hosts", "hostname", "resolv.conf")}
        return Place(
            id=container.id,
            engine_id=self._paths.engine_id,
            layers=self._images.layer_directories(image),
            upper=directory / "upper",
            work=directory / "work",
            rootfs=None,
            mounts=[self._mount_point(mount) for mount in container.mounts],
            files=files,
            namespaces=namespaces,
        )

    def _mount_point(self, mount: Mapping[str, Any]) -> MountPoint:
        source = mount.get("Source") or ""
        if mount["Type"] == "volume":
            source = str(self._volumes.path(mount["Name"]))
            if mount.get("Subpath"):
                source = f"{source}/{mount['Subpath']}"
        return MountPoint(
            mount["Type"],
            mount["Destination"],
            source,
            mount.get("Name") or "",
            not mount.get("RW", True),
            mount.get("Propagation") or "rprivate",
            tuple(mount.get("Options") or ()),
        )

    async def _join_networks(self, container: Container, directory: Path) -> Path | None:
        """Attach the container to its networks; return its network namespace, None for the host's."""
        mode = container.host.get("NetworkMode") or "default"
        if mode.startswith("container:"):
            other = self.find(mode.partition(":")[2])
            if not other.is_running:
                raise ConflictError(f"cannot join network of a non running container: {other.name}")
            container.config["Hostname"] = other.config.get("Hostname") or ""
            source = self._paths.container(other.id)
            for name in ("hosts", "hostname", "resolv.conf"):
                if (source / name).exists():
                    shutil.copy(source / name, directory / name)
            if not self._networks.namespace(other.id).exists():  # the other one is on the host's network
                return None
            return self._networks.namespace(other.id)
        hostname = container.config.get("Hostname") or container.id[:12]
        (directory / "hostname").write_text(hostname + "\n")
        if mode == "host":
            (directory / "hosts").write_text(hosts_file((), container.host.get("ExtraHosts") or ()))
            (directory / "resolv.conf").write_text(resolv_conf(host_resolvers(), container.host, host_search()))
            return None
        sysctls = {k: v for k, v in (container.host.get("Sysctls") or {}).items() if k.startswith("net.")}
        path = self._networks.namespace(container.id)
        if not path.exists():  # else it waited for us, with all its attachments, for the sake of who shares it
            await self._networks.open_namespace(container.id, container.name, sysctls)
        attached = {endpoint.network_id: endpoint for endpoint in self._networks.endpoints(container.id)}
        own: list[tuple[str, str]] = []
        gateway = ""
        if mode != "none":
            for name, wanted in container.networks.items():
                network = self._networks.resolve(name)
                endpoint = attached.get(network.id) or await self._networks.connect(
                    container.id, container.name, network, endpoint_settings(wanted, container.host)
                )
                own += [(str(address), hostname) for address in endpoint.addresses]
                joined = self._networks.resolve(network.id).ipv4
                gateway = gateway or (joined.gateway if joined else "")
            await self.publish_ports(container)
        (directory / "hosts").write_text(hosts_file(own, container.host.get("ExtraHosts") or (), gateway))
        self.write_resolv_conf(container)
        return path

    async def publish_ports(self, container: Container) -> None:
        """Publish the container's ports over the networks that it is on."""
        bindings = held_ports(container) or port_bindings(container.host)
        published = await self._networks.publish(container.id, bindings)
        container.ports = [
            {"IP": b.host_ip, "PrivatePort": b.container_port, "PublicPort": b.host_port, "Type": b.protocol}
            for b in published
        ]

    def write_resolv_conf(self, container: Container) -> None:
        """Write the container's resolv.conf for the networks that it is on; into the same file, which it may see."""
        servers = [] if "none" in container.networks else [RESOLVER_ADDRESS]
        if set(container.networks) <= {"bridge"}:
            servers = default_resolvers()
        path = self._paths.container(container.id) / "resolv.conf"
        path.write_text(resolv_conf(servers, container.host, host_search()))

    async def _leave_networks(self, container: Container) -> None:
        """Take the container off its networks; but not while others run in its network namespace."""
        if not self._sharers(container):
            if self._networks.namespace(container.id).exists():
                await self._networks.close_namespace(container.id)
            container.ports = []
        owner = self.network_owner(container)
        if owner is not None and not owner.is_running and not self._sharers(owner, but=container):
            await self._leave_networks(owner)
            self.save(owner)

    def network_owner(self, container: Container) -> Container | None:
        """Return whose network namespace the container runs in, when it is another container's."""
        mode = container.host.get("NetworkMode") or ""
        try:
            return self.find(mode.partition(":")[2]) if mode.startswith("container:") else None
        except SkiffError:
            return None

    def _sharers(self, owner: Container, but: Container | None = None) -> list[Container]:
        """Return the running containers, `but` one, in the network namespace of `owner`."""
        return [one for one in self.all() if one.is_running and one is not but and self.network_owner(one) is owner]

    # --- while it runs

    def _attend(self, container: Container, process: KeptProcess) -> None:
        """Take over a running process: its output, its exit, its health."""
        container.process = process
        container.scope = anyio.CancelScope()
        container.drained = anyio.Event()
        container.health = None
        self._group.start_soon(self._drain, container, process)
        check = HealthCheck.of(
            container.config.get("Healthcheck"), tuple(container.config.get("Shell") or ()) or ("/bin/sh", "-c")
        )
        if check is not None:
            container.health = Health()
            self._group.start_soon(self._probe, container, check, container.scope)

    async def _drain(self, container: Container, process: KeptProcess) -> None:
        """Move the process's output into the log until its pipes end."""
        writer = logs.LogWriter(self._paths.container(container.id))
        container.log = writer
        try:
            async with anyio.create_task_group() as group:
                if "console" in process.fds:
                    group.start_soon(self._drain_console, container, writer, process.fds["console"])
                for name, stream in (("stdout", logs.STDOUT), ("stderr", logs.STDERR)):
                    if name in process.fds:
                        group.start_soon(self._drain_pipe, container, writer, process.fds[name], stream)
        finally:
            writer.close()
            container.log = None
            container.drained.set()
            container.notify_log()

    async def _drain_pipe(self, container: Container, writer: logs.LogWriter, pipe: int, stream: int) -> None:
        os.set_blocking(pipe, False)
        while True:
            await anyio.wait_readable(pipe)
            try:
                if writer.take(pipe, stream) == 0:
                    return
            except BlockingIOError:
                continue
            container.notify_log()

    async def _drain_console(self, container: Container, writer: logs.LogWriter, console: int) -> None:
        os.set_blocking(console, False)
        while True:
            await anyio.wait_readable(console)
            try:
                data = os.read(console, logs.CHUNK_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno == errno.EIO:  # tty: no process has the other end open any more
                    return
                raise
            if not data:
                return
            writer.append(data, logs.STDIN)
            container.notify_log()

    async def _probe(self, container: Container, check: HealthCheck, scope: anyio.CancelScope) -> None:
        """Run the health check for as long as the process runs; the first time at once."""
        with scope:
            started = time.monotonic()
            while container.is_running and container.health is not None:
                if container.state.status != PAUSED:
                    probe = await self._run_probe(container, check)
                    age_s = time.monotonic() - started
                    before = container.health
                    container.health = before.after(check, probe, age_s)
                    container.notify()
                    if container.health.status != before.status:
                        self.tell(container, f"health_status: {container.health.status}")
                await anyio.sleep(container.health.pause_s(check, time.monotonic() - started))

    async def _run_probe(self, container: Container, check: HealthCheck) -> dict[str, Any]:
        started_ns = time.time_ns()
        exit_code, output = await self.run_probe(container, check)
        return {
            "Start": rfc3339(started_ns),
            "End": rfc3339(time.time_ns()),
            "ExitCode": exit_code,
            "Output": output,
        }

    async def run_probe(self, container: Container, check: HealthCheck) -> tuple[int, str]:
        """Run one probe; return its exit code and output. Set by the engine, which knows execs."""
        raise NotImplementedError

    # --- exit

    async def exited(self, container: Container, ended: ProcessExit) -> None:
        """Take note of the end of the container's process: state, log, network; restart or remove it as it wants."""
        process = container.process
        if process is None:
            return
        ran_for_s = (ended.finished_at_ns - process.started_at_ns) / 1e9
        with anyio.CancelScope(shield=True):
            if container.scope is not None:
                container.scope.cancel()
            with anyio.move_on_after(5):  # a stray holder of the pipes, outside the container, is not waited for
                await container.drained.wait()
            process.close()
            container.process = None
            await self._leave_networks(container)
            await anyio.to_thread.run_sync(shutil.rmtree, self._paths.bundles / container.id, True)
            state = container.state
            state.exit_code, state.oom_killed = ended.exit_code, ended.oom_killed
            state.finished_at, state.pid = rfc3339(ended.finished_at_ns), 0
            restarts = container.policy.restarts(ended.exit_code, state.restart_count, state.stopped_by_user)
            state.status = RESTARTING if restarts else EXITED
            self.save(container)
            # before anyone wakes: who waited for the end finds it among the events
            if ended.oom_killed:
                self.tell(container, "oom")
            self.tell(container, "die", exitCode=str(ended.exit_code), execDuration=str(int(ran_for_s)))
            container.notify_log()
            # only now: until the store has the exit code, the keeper is the one who knows it
            await self._keeper.forget(container.id)
        if restarts:
            self._group.start_soon(self._restart_later, container, ran_for_s)
        elif container.host.get("AutoRemove"):
            container.state.status = "removing"
            self._group.start_soon(self._auto_remove, container)

    async def _restart_later(self, container: Container, ran_for_s: float) -> None:
        delay_s = next_delay(getattr(container, "last_delay_s", 0.0), ran_for_s)
        container.last_delay_s = delay_s  # type: ignore[attr-defined]
        with anyio.move_on_after(delay_s):
            while container.state.status == RESTARTING and not container.state.stopped_by_user:
                await container.changed.wait()
        if container.state.status != RESTARTING:
            return
        if container.state.stopped_by_user:
            container.state.status = EXITED
            self.save(container)
            return
        container.state.restart_count += 1
        try:
            await self.start(container)
        except SkiffError:
            container.state.status = EXITED
            self.save(container)

    async def _auto_remove(self, container: Container) -> None:
        with suppress(SkiffError):
            await self.remove_files(container, volumes=True)

    async def remove_files(self, container: Container, *, volumes: bool) -> None:
        """Remove a container that does not run: its directory, its row, its anonymous volumes. Overridden by owner."""
        raise NotImplementedError

    async def wait_until_stopped(self, container: Container) -> None:
        """Return when the container has no process."""
        while container.is_running:
            await container.changed.wait()

    async def stop(self, container: Container, signum: int, timeout_s: float | None) -> None:
        """Ask the process to end with `signum`; kill it after `timeout_s` seconds (None or negative: wait for ever)."""
        container.state.stopped_by_user = True
        container.notify()
        if not container.is_running:
            if container.state.status == RESTARTING:
                container.state.status = EXITED
            self.save(container)
            return
        self._rows.put(container.id, container.document(), container.name)
        if container.state.status == PAUSED:
            await self._keeper.freeze(container.id, False)
            container.state.status = RUNNING
        self.tell(container, "kill", signal=str(signum))
        await self._keeper.signal(container.id, signum)
        with anyio.move_on_after(timeout_s if timeout_s is not None and timeout_s >= 0 else float("inf")):
            await self.wait_until_stopped(container)
        if container.is_running:
            self.tell(container, "kill", signal=str(int(signal.SIGKILL)))
            await self._keeper.signal(container.id, signal.SIGKILL)
            await self.wait_until_stopped(container)
        self.tell(container, "stop")

    async def adopt(self, container: Container, process: KeptProcess) -> None:
        """Take over a container that an earlier engine started."""
        container.state.status = RUNNING if container.state.status != PAUSED else PAUSED
        container.state.pid = process.pid
        container.state.started_at = container.state.started_at or rfc3339(process.started_at_ns)
        self._attend(container, process)
        self.save(container)
        owner = self.network_owner(container)
        try:
            await self._networks.publish(container.id, held_ports(container))
            if owner is not None:
                await self._networks.publish(owner.id, held_ports(owner))
        except (SkiffError, KernelError) as error:
            container.state.error = f"a published port was lost: {error}"

    def lost(self, container: Container) -> None:
        """Take note that a container's process is gone and nobody knows how it ended."""
        container.state.status = EXITED
        container.state.exit_code = 255
        container.state.pid = 0
        container.state.finished_at = rfc3339(time.time_ns())
        self.save(container)


def endpoint_settings(wanted: Mapping[str, Any], host: Mapping[str, Any]) -> EndpointSettings:
    """Return the attachment that Docker's EndpointSettings describe, for a container with this HostConfig."""
    ipam = wanted.get("IPAMConfig") or {}
    return EndpointSettings(
        aliases=tuple(wanted.get("Aliases") or ()),
        ipv4_address=ipam.get("IPv4Address") or "",
        ipv6_address=ipam.get("IPv6Address") or "",
        mac_address=wanted.get("MacAddress") or "",
        links=tuple(wanted.get("Links") or ()),
        driver_opts=dict(wanted.get("DriverOpts") or {}),
        gw_priority=wanted.get("GwPriority") or 0,
        link_local_ips=tuple(ipam.get("LinkLocalIPs") or ()),
        dns_servers=tuple(host.get("Dns") or ()),
    )


def port_bindings(host: Mapping[str, Any]) -> list[PortBinding]:
    """Return the published ports of a HostConfig."""
    return parse_bindings(host.get("PortBindings") or {})


def held_ports(container: Container) -> list[PortBinding]:
    """Return the ports that the container has on the host, with those that were chosen for it."""
    return [PortBinding(port["PrivatePort"], port["Type"], port["IP"], port["PublicPort"]) for port in container.ports]


def seconds_since(stamp: str) -> float:
    """Return the seconds since an RFC 3339 time."""
    return time.time() - parse_rfc3339(stamp) / 1e9
