"""RUN steps of builds: each runs in a temporary container without a record."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.abc

from runtime.bodies import HostConfig
from runtime.build.runner import HOSTNAME, RootFilesystem
from runtime.container.devices import devices
from runtime.container.logs.files import STDERR, STDOUT
from runtime.container.resources import resources
from runtime.container.spec import DEFAULT_SHM_BYTES, capabilities
from runtime.engine.containers.making.hosts import hosts_file, resolv_conf
from runtime.errors import KernelError, SkiffError
from runtime.exhausted import check_start
from runtime.keeper.client import KeeperClient
from runtime.keeper.handles import ProcessExit, ProcessHandle
from runtime.network.model import EndpointSettings
from runtime.network.names import RESOLVER_ADDRESS, default_resolvers
from runtime.network.networks import Networks
from runtime.network.resolver import host_resolvers, host_search
from runtime.oci import defaults
from runtime.oci.types import OciLinux, OciMount, OciNamespace, OciProcess, OciSpec
from runtime.paths import Paths

CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, eq=False)
class Steps:
    """Runs build steps with the keeper; the engine reports exits to it (`exited`)."""

    paths: Paths
    keeper: KeeperClient
    networks: Networks
    _running: dict[str, tuple[anyio.Event, list[ProcessExit]]] = field(default_factory=dict, init=False)

    def owns(self, id: str) -> bool:
        """Whether `id` is a running step."""
        return id in self._running

    def exited(self, ended: ProcessExit) -> None:
        """Record the exit of a step's process."""
        event, exits = self._running[ended.id]
        exits.append(ended)
        event.set()

    async def run(
        self,
        rootfs: RootFilesystem,
        process: OciProcess,
        mounts: Sequence[OciMount],
        network: str,
        output: Callable[[bytes, int], None],
        *,
        extra_hosts: Sequence[str] = (),
        shm_size_bytes: int = 0,
        is_privileged: bool = False,
        memory_bytes: int = 0,
        hostname: str = HOSTNAME,
    ) -> int:
        """Run one step (see `runtime.build.runner.StepRunner`)."""
        check_start()
        id = secrets.token_hex(32)
        bundle = self.paths.bundles / id
        event = anyio.Event()
        exits: list[ProcessExit] = []
        kept: ProcessHandle | None = None
        self._running[id] = (event, exits)
        try:
            (bundle / "rootfs").mkdir(parents=True)
            host: HostConfig = {"Privileged": is_privileged, "Memory": memory_bytes}
            namespace = await self._join(id, network, bundle, extra_hosts, hostname)
            spec = self._document(id, rootfs, process, mounts, namespace, bundle, shm_size_bytes, host, hostname)
            kept = await self.keeper.launch(id, bundle, spec, stdin=False)
            async with anyio.create_task_group() as group:
                for stream, name in ((STDOUT, "stdout"), (STDERR, "stderr")):
                    group.start_soon(_pump, kept.fds[name], stream, output)
            await event.wait()
            return exits[0].exit_code
        finally:
            with anyio.CancelScope(shield=True):
                if kept is not None:
                    if not exits:
                        await self.keeper.signal(id, signal.SIGKILL)
                        await event.wait()
                    kept.close()
                    await self.keeper.forget(id)
                if self.networks.namespace(id).exists():
                    with suppress(SkiffError, KernelError):
                        await self.networks.close_namespace(id)
                shutil.rmtree(bundle, ignore_errors=True)
                del self._running[id]

    async def _join(self, id: str, network: str, bundle: Any, extra_hosts: Sequence[str], hostname: str) -> str | None:
        """Set up the step's network; return the path of its namespace, None for the host's."""
        wanted = None
        if network not in ("host", "none"):
            wanted = self.networks.resolve("bridge" if network in ("", "default") else network)
        servers = host_resolvers() if network == "host" else default_resolvers()
        if wanted is not None and wanted.name != "bridge":
            servers = [RESOLVER_ADDRESS]  # containers on it have names
        base = ("127.0.0.1\tlocalhost " + hostname, "::1\tlocalhost ip6-localhost ip6-loopback")
        (bundle / "hosts").write_text(hosts_file((), extra_hosts, base=base))
        (bundle / "resolv.conf").write_text(resolv_conf(servers, {}, host_search()))
        if network == "host":
            return None
        path = await self.networks.open_namespace(id, f"build-{id[:12]}", {})
        if wanted is not None:
            await self.networks.connect(id, f"build-{id[:12]}", wanted, EndpointSettings())
        return str(path)

    def _document(
        self,
        id: str,
        rootfs: RootFilesystem,
        process: OciProcess,
        mounts: Sequence[OciMount],
        namespace: str | None,
        bundle: Any,
        shm_size_bytes: int,
        host: HostConfig,
        hostname: str,
    ) -> OciSpec:
        overlay = [f"lowerdir+={layer}" for layer in rootfs.lower]
        overlay += [f"upperdir={rootfs.upper}", f"workdir={rootfs.work}"]
        files: list[OciMount] = [
            {"destination": f"/etc/{name}", "type": "bind", "source": str(bundle / name), "options": ["bind", "ro"]}
            for name in ("hosts", "resolv.conf")
        ]
        namespaces: list[OciNamespace] = [{"type": kind} for kind in ("mount", "pid", "uts", "ipc", "cgroup")]
        if namespace is not None:
            namespaces.append({"type": "network", "path": namespace})
        is_privileged = host["Privileged"]
        granted = capabilities(host)
        sets = {kind: list(granted) for kind in ("bounding", "effective", "permitted")}
        isolation: OciLinux = {"devices": devices(host, is_privileged)}
        if not is_privileged:
            isolation = {
                "maskedPaths": list(defaults.MASKED_PATHS),
                "readonlyPaths": list(defaults.READ_ONLY_PATHS),
                "seccomp": defaults.seccomp(granted),
            }
        return {
            "ociVersion": "1.2.0",
            "process": {**process, "capabilities": sets},
            "root": {"path": "rootfs"},
            "hostname": hostname,
            "mounts": [
                {"destination": "/", "type": "overlay", "source": "overlay", "options": overlay},
                *defaults.mounts(shm_size_bytes or DEFAULT_SHM_BYTES),
                {
                    "destination": "/sys/fs/cgroup",
                    "type": "cgroup",
                    "source": "cgroup",
                    "options": ["nosuid", "noexec", "nodev", "rw" if is_privileged else "ro"],
                },
                *files,
                *mounts,
            ],
            "linux": {
                "namespaces": namespaces,
                "cgroupsPath": f"/skiff-{self.paths.engine_id}/{id}",
                "resources": resources(host, is_privileged),
                **isolation,
            },
        }


async def _pump(pipe: int, stream: int, output: Callable[[bytes, int], None]) -> None:
    os.set_blocking(pipe, False)
    while True:
        await anyio.wait_readable(pipe)
        try:
            data = os.read(pipe, CHUNK_BYTES)
        except BlockingIOError:
            continue
        if not data:
            return
        output(data, stream)
