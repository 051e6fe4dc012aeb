"""Starting and stopping containers: the transitions between their states (see `state`)."""

from __future__ import annotations

import errno
import logging
import shutil
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import anyio.to_thread

from runtime.bodies import ContainerConfig
from runtime.container.health import UNHEALTHY
from runtime.container.restart import next_delay
from runtime.container.spec import ContainerPaths, build
from runtime.engine.background import Background, log_errors
from runtime.engine.containers import failures
from runtime.engine.containers.log_shipping import Shipment
from runtime.engine.containers.making.mounts import Mounts
from runtime.engine.containers.memory_watch import MemoryWatch
from runtime.engine.containers.process_monitor import ProcessMonitor
from runtime.engine.containers.remover import ContainerRemover
from runtime.engine.containers.state import (
    CREATED,
    EXITED,
    PAUSED,
    REMOVING,
    RESTARTING,
    RUNNING,
    UNKNOWN_EXIT,
    Container,
)
from runtime.engine.containers.table import ContainerTable
from runtime.engine.networks.name_files import NAME_FILES
from runtime.engine.networks.networking import ContainerNetworks
from runtime.engine.times import rfc3339
from runtime.errors import BadRequestError, ConflictError, InternalError, KernelError, SkiffError
from runtime.exhausted import check_start
from runtime.image.images import Images
from runtime.keeper.client import KeeperClient
from runtime.keeper.handles import LaunchError, ProcessExit, ProcessHandle
from runtime.linux.signals import drops
from runtime.paths import Paths

logger = logging.getLogger(__name__)
STOP_TIMEOUT_S = 10.0
AGAIN_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Pauses between the attempts to start a container with the engine."""
IN_THE_WAY = (errno.EEXIST, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO)
"""Errors of an operation on a file in whose place something else is."""
STARTING_NS = 2_000_000_000
"""How long a program may take to install its signal handlers."""


@dataclass(frozen=True, eq=False)
class Lifecycle:
    """Changes the state of containers; every change is stored before its event is emitted."""

    paths: Paths
    table: ContainerTable
    keeper: KeeperClient
    images: Images
    mounts: Mounts
    networks: ContainerNetworks
    monitor: ProcessMonitor
    memory: MemoryWatch
    remover: ContainerRemover
    background: Background
    flush: Callable[[], Awaitable[None]]
    """Syncs the store to disk."""

    # --- start

    async def start(self, container: Container) -> None:
        """Start the container; return once its process has called execve(2). Raises LaunchError, ConflictError, …"""
        async with container.lock:
            if container.is_running:
                return
            if container not in self.table or container.state.status == REMOVING:
                raise ConflictError(f"container {container.name} is marked for removal and cannot be started")
            container.state.stopped_by_user = False
            shipment: Shipment | None = None
            try:
                check_start()
                with anyio.CancelScope(shield=True):
                    shipment = await self.monitor.shipper.open(container)
                    try:
                        process = await self._launch(container)
                    except OSError as error:
                        if error.errno not in IN_THE_WAY:
                            raise
                        raise _unusable(container, error) from error
            except BaseException as error:
                if shipment is not None:
                    shipment.close()
                with anyio.CancelScope(shield=True):
                    await log_errors(self.networks.leave, container)
                self._not_started(container, error)
                raise
            container.state.status = RUNNING
            container.state.pid = process.pid
            container.state.error = ""
            container.state.oom_killed = False
            container.state.exit_code = 0
            container.state.started_at = rfc3339(process.started_at_ns)
            self.monitor.begin(container, process, shipment)
            self.table.save(container, is_confirmed=False)  # `save_starting` has already recorded the start
            self.mounts.emit("mount", container)
            self.table.emit(container, "start")

    async def _launch(self, container: Container) -> ProcessHandle:
        directory = self.paths.container(container.id)
        await self.images.whole(self.images.resolve(container.image_id))
        network = await self.networks.join(container)
        bundle = self.paths.bundles / container.id
        self._prepare(container, directory, bundle)
        config: ContainerConfig = {**container.config, "Env": self.networks.environment(container)}
        place = self._place(container, directory, network)
        with failures.preparing():
            document = build(config, container.host, place)
        self.table.save_starting(container)
        self.background.start_soon(self.flush)
        with failures.launching():
            return await self.keeper.launch(
                container.id, bundle, document, stdin=bool(container.config.get("OpenStdin"))
            )

    def _not_started(self, container: Container, error: BaseException) -> None:
        container.state.error = error.message if isinstance(error, SkiffError) else str(error)
        container.state.exit_code = error.exit_code if isinstance(error, LaunchError) else failures.NOT_STARTED
        if container.state.status == RESTARTING:
            container.state.status = EXITED
        self.table.save(container)
        if container.host.get("AutoRemove"):
            self.remove_later(container)

    def _prepare(self, container: Container, directory: Path, bundle: Path) -> None:
        for name in ("upper", "work"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        bundle.mkdir(parents=True, exist_ok=True)
        if container.host.get("IpcMode") == "shareable":
            (directory / "shm").mkdir(exist_ok=True)

    def _place(self, container: Container, directory: Path, network: Path | None) -> ContainerPaths:
        image = self.images.resolve(container.image_id)
        namespaces: dict[str, str] = {}
        if network is not None:
            namespaces["network"] = str(network)
        for kind, value in (("pid", container.host.get("PidMode") or ""), ("ipc", container.host.get("IpcMode") or "")):
            if value.startswith("container:"):
                other = self.table.find(value.partition(":")[2])
                if not other.is_running:
                    # a conflict for IPC alone, as dockerd has it
                    refusal = ConflictError if kind == "ipc" else InternalError
                    raise refusal(f"failed to join {kind.upper()} namespace: container {other.id} is not running")
                if kind == "ipc" and other.host.get("IpcMode") not in ("shareable", "host"):
                    raise BadRequestError(
                        f"failed to join IPC namespace: container {other.id}: non-shareable IPC (hint: use "
                        "IpcMode:shareable for the donor container)"
                    )
                namespaces[kind] = f"/proc/{other.state.pid}/ns/{kind}"
                if kind == "ipc":
                    namespaces["shm"] = f"/proc/{other.state.pid}/root/dev/shm"
        return ContainerPaths(
            id=container.id,
            engine_id=self.paths.engine_id,
            layers=(*self.images.layer_directories(image), self.paths.init_layer),
            upper=directory / "upper",
            work=directory / "work",
            rootfs=None,
            mounts=[self.mounts.resolved(mount) for mount in container.mounts],
            files={f"/etc/{name}": directory / name for name in NAME_FILES},
            namespaces=namespaces,
        )

    # --- exit

    async def exited(self, container: Container, ended: ProcessExit) -> None:
        """Handle the exit of the container's process: state, log, network; then restart or remove it by its policy."""
        with anyio.CancelScope(shield=True):
            async with container.lock:  # the exit may be reported before `start` has recorded the start
                process = container.process
                if process is None or ended.pid not in (0, process.pid):
                    # an engine that has just taken over may learn of an exit twice, from `list` and from the keeper's
                    # report, and the container may have been restarted in between
                    return
                ran_for_s = (ended.finished_at_ns - process.started_at_ns) / 1e9
                removes_itself = bool(container.host.get("AutoRemove")) and not container.keep_after_exit
                # record the exit even if clean-up fails
                await log_errors(self.monitor.end, container)
                process.close()
                container.process = None
                await log_errors(self.networks.leave, container)
                await anyio.to_thread.run_sync(shutil.rmtree, self.paths.bundles / container.id, True)
                restarts = self._note_exit(container, ended)
                # emit "die" before waking waiters, so that they see the event
                self.memory.end(container, oom_killed=ended.oom_killed)
                self.mounts.emit("unmount", container)
                self.table.emit(
                    container, "die", exitCode=str(ended.exit_code), execDuration=str(max(int(ran_for_s), 0))
                )
                container.notify_log()
                # not earlier: until the exit code is stored, only the keeper knows it
                await log_errors(self.keeper.forget, container.id)
        if restarts:
            self.background.start_soon(
                self._restart_later, container, ran_for_s, failed=lambda error: self._give_up(container, error)
            )
        elif removes_itself:
            self.remove_later(container)

    def remove_later(self, container: Container) -> None:
        """Remove an exited container with HostConfig.AutoRemove, in the background."""
        container.state.status = REMOVING

        def failed(_: Exception) -> None:
            container.state.status = EXITED
            container.notify()

        async def remove() -> None:
            await self.monitor.shipper.finish(container)
            await self.remover.remove(container)

        self.background.start_soon(remove, failed=failed)

    def _note_exit(self, container: Container, ended: ProcessExit) -> bool:
        state = container.state
        state.exit_code, state.oom_killed = ended.exit_code, ended.oom_killed or container.has_reported_oom
        state.finished_at, state.pid = rfc3339(ended.finished_at_ns), 0
        stays_stopped = state.stopped_by_user or container.is_stopped_by_shutdown
        restarts = container.policy.restarts(ended.exit_code, state.restart_count, stays_stopped)
        state.status = RESTARTING if restarts else EXITED
        if container.health is not None:  # as in Docker, and together with the state: one that runs has not failed yet
            container.health = replace(container.health, status=UNHEALTHY)
        container.exits += 1
        self.table.save(container)
        return restarts

    async def _restart_later(self, container: Container, ran_for_s: float) -> None:
        container.restart_delay_s = next_delay(container.restart_delay_s, ran_for_s)
        if await self._waits(container, container.restart_delay_s):
            container.state.restart_count += 1
            try:
                await self.start(container)
            except SkiffError as error:
                raise _not_again(container, error) from error

    async def _waits(self, container: Container, pause_s: float) -> bool:
        """Wait while the container is in state "restarting"; return whether it still is, and shall be started."""
        with anyio.move_on_after(pause_s):
            while container.state.status == RESTARTING and not container.state.stopped_by_user:
                await container.changed.wait()
        if container.state.status != RESTARTING:
            return False
        if container.state.stopped_by_user:
            self._settle(container)
            return False
        return True

    def _give_up(self, container: Container, error: Exception) -> None:
        """Record why a container could not be restarted, and leave it stopped."""
        if container.state.status == RESTARTING:
            container.state.error = str(error)
            self._settle(container)

    def _settle(self, container: Container) -> None:
        """Change a container in state "restarting" to "exited"."""
        container.state.status = EXITED
        container.exits += 1
        self.table.save(container)

    # --- stop

    async def wait_until_stopped(self, container: Container) -> None:
        """Return once the container is not running."""
        while container.is_running:
            await container.changed.wait()

    async def stop(self, container: Container, signum: int, timeout_s: float | None, *, by_user: bool = True) -> bool:
        """Send `signum`; after `timeout_s` seconds SIGKILL (None or negative: wait forever). Return once it has exited.

        A process 1 without a handler, for which the kernel drops `signum`, is killed without waiting; return True for
        one that has run for a while, so that it will never have one.
        Without `by_user` (on shutdown) the container is restarted by its policy when the next engine starts.
        """
        container.state.stopped_by_user = container.state.stopped_by_user or by_user
        container.is_stopped_by_shutdown = not by_user
        container.notify()
        if not container.is_running:
            if container.state.status == RESTARTING:
                self._settle(container)
            return False
        self.table.save(container)
        self.table.emit(container, "kill", signal=str(signum))
        # looked at twice: a handler may be reset when it is called (SA_RESETHAND), or just be installed
        is_dropped = not container.host.get("Init") and drops(container.state.pid, signum)
        await self.keeper.signal(container.id, signum)
        await self.thaw(container)
        is_dropped = is_dropped and timeout_s is not None and timeout_s > 0 and drops(container.state.pid, signum)
        if is_dropped:
            timeout_s = 0
        # a program that has just been started may not have come to install its handler yet
        is_known = container.process is not None and time.time_ns() - container.process.started_at_ns > STARTING_NS
        with anyio.move_on_after(timeout_s if timeout_s is not None and timeout_s >= 0 else float("inf")):
            await self.wait_until_stopped(container)
        if container.is_running:
            self.table.emit(container, "kill", signal=str(int(signal.SIGKILL)))
            await self.kill(container)
        self.table.emit(container, "stop")
        return is_dropped and is_known

    async def kill(self, container: Container) -> None:
        """Send SIGKILL and return once the process has exited."""
        await self.keeper.signal(container.id, signal.SIGKILL)
        while container.is_running:
            await self.thaw(container)  # again, in case it is paused in between
            if container.is_running:
                await container.changed.wait()

    async def thaw(self, container: Container) -> None:
        """Resume a paused container, so that it handles the signal."""
        if container.state.status == PAUSED:
            await self.keeper.freeze(container.id, False)
            if container.state.status == PAUSED:  # it may have exited in between
                container.state.status = RUNNING
                self.table.save(container)

    # --- taking over from an earlier engine

    async def adopt(self, container: Container, process: ProcessHandle) -> None:
        """Take over a container that an earlier engine started."""
        container.state.status = RUNNING if container.state.status != PAUSED else PAUSED
        container.state.pid = process.pid
        if not container.state.was_started:
            container.state.started_at = rfc3339(process.started_at_ns)
        self.monitor.begin(container, process)
        self.table.save(container)
        try:
            await self.networks.adopt(container)
        except (SkiffError, KernelError) as error:
            container.state.error = f"a published port could not be opened again: {error}"

    def lost(self, container: Container) -> None:
        """Record that a container's process is gone and its exit status unknown."""
        container.state.status = EXITED
        container.state.exit_code = UNKNOWN_EXIT
        container.state.pid = 0
        container.state.finished_at = rfc3339(time.time_ns())
        container.exits += 1
        self.table.save(container)

    async def start_again(self, container: Container) -> None:
        """Start a container at the start of the engine, by its restart policy.

        What fails is tried again: at a boot, disks and networks may come a moment later. Raises SkiffError in the end.
        """
        for pause_s in AGAIN_S:
            try:
                await self.start(container)
                return
            except SkiffError as error:
                if container.state.status in (CREATED, REMOVING):
                    raise
                logger.warning("%s; it is tried again in %g s", _not_again(container, error).message, pause_s)
                container.state.status = RESTARTING
                self.table.save(container)
            if not await self._waits(container, pause_s):
                return
        try:
            await self.start(container)
        except SkiffError as error:
            if container.state.status not in (CREATED, REMOVING):
                container.state.status = EXITED
                self.table.save(container)
            raise _not_again(container, error) from error


def _not_again(container: Container, error: SkiffError) -> SkiffError:
    return SkiffError(f"container {container.name} could not be started again: {error.message}", error.hint)


def _unusable(container: Container, error: OSError) -> InternalError:
    """Return the error for a file of a container that is not what the engine made."""
    return InternalError(
        f"container {container.name} can't be started: {error.filename or ''}: {error.strerror}",
        "something else is in that file's place: move it away, or recreate the container",
    )
