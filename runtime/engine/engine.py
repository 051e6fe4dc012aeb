"""The engine as a whole: its rooms, put together; what it finds at its start; when it may go."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread

from runtime.build.builder import Builder
from runtime.engine.containers import Containers
from runtime.engine.events import EventBus
from runtime.engine.execs import Execs
from runtime.engine.image_api import ImageApi
from runtime.engine.network_api import NetworkApi
from runtime.engine.state import PAUSED, RESTARTING, RUNNING
from runtime.engine.steps import Steps
from runtime.engine.volume_api import VolumeApi
from runtime.errors import SkiffError
from runtime.image.images import Images
from runtime.keeper.client import Keeper, KeptProcess
from runtime.network.networks import Networks
from runtime.network.ports import parse_binding
from runtime.paths import Paths
from runtime.store import Store
from runtime.volume.volumes import Volumes

API_VERSION, LOWEST_API_VERSION = "1.50", "1.24"
IDLE_S = 30.0


class Engine:
    """One engine. Made by `open`; its rooms are its attributes."""

    def __init__(self, paths: Paths, store: Store, keeper: Keeper, group: anyio.abc.TaskGroup) -> None:
        self.paths = paths
        self.store = store
        self.keeper = keeper
        self.group = group
        self.events = EventBus()
        self.images = Images(paths, store)
        self.networks = Networks(paths, store, group)
        self.volumes = Volumes(paths, store)
        self.containers = Containers(
            paths,
            store.collection("container"),
            keeper,
            self.images,
            self.networks,
            self.volumes,
            self.events,
            group,
        )
        self.execs = Execs(keeper, self.containers, group)
        self.containers.run_probe = self.execs.probe  # type: ignore[method-assign]
        self.steps = Steps(paths, keeper, self.networks)
        self.image_api = ImageApi(paths, self.images, self.containers, self.events)
        self.builder = Builder(paths, store, self.images, self.steps, self.image_api.pull_for_build)
        self.networks_api = NetworkApi(self.networks, self.containers, self.events)
        self.volumes_api = VolumeApi(self.volumes, self.containers, self.events)
        self.system = System(self)
        self.stopping = anyio.Event()
        self._busy = 0
        self._activity = anyio.Event()

    @classmethod
    @asynccontextmanager
    async def open(cls, paths: Paths, restart: Sequence[str]) -> AsyncIterator[Engine]:
        """Open the engine of `paths`: take over what runs, repair what a crash left; `restart` is its own command."""
        for directory in (paths.root, paths.run, paths.containers, paths.volumes, paths.layers, paths.blobs, paths.tmp):
            directory.mkdir(parents=True, exist_ok=True, mode=0o711)
        store = Store.open(paths.database)
        try:
            async with (
                Keeper.connect(paths, restart=restart, on_lost=_say_what_was_lost) as keeper,
                anyio.create_task_group() as group,
            ):
                engine = cls(paths, store, keeper, group)
                await engine._take_over()
                group.start_soon(engine._hear_exits)
                yield engine
                await engine.networks.withdraw()
                await keeper.bye()
                group.cancel_scope.cancel()
        finally:
            store.close()

    async def _take_over(self) -> None:
        """Bring store, keeper and disk together."""
        kept = {process.id: process for process in await self.keeper.list()}
        live: dict[str, str] = {}
        ended: list[KeptProcess] = []
        for container in self.containers.all():
            process = kept.get(container.id)
            if process is not None and process.exit is None:
                live[container.id] = container.name
                if (owner := self.containers.network_owner(container)) is not None:
                    live[owner.id] = owner.name
            elif process is not None:
                ended.append(process)
        # endpoints and namespaces of containers that ended meanwhile are still to be left in order
        await self.networks.open({**live, **{p.id: self.containers.find(p.id).name for p in ended}})
        for container in self.containers.all():
            process = kept.pop(container.id, None)
            if process is not None:
                await self.containers.adopt(container, process)
                if process.exit is not None:
                    await self.containers.exited(container, process.exit)
            elif container.is_running:
                self.containers.lost(container)
        for stray in kept.values():  # execs and build steps of the engine before
            if stray.exit is None:
                await self.keeper.signal(stray.id, 9)
            else:
                await self.keeper.forget(stray.id)
            stray.close()
        await anyio.to_thread.run_sync(self._sweep)
        for container in self.containers.all():
            policy = container.policy
            if container.state.status == RESTARTING or (
                not container.is_running
                and container.state.started_at[:4] != "0001"
                and policy.starts_with_engine(container.state.stopped_by_user)
            ):
                self.group.start_soon(self._start_again, container.id)
            elif not container.is_running and container.host.get("AutoRemove") and container.state.status == "exited":
                self.group.start_soon(self.containers._auto_remove, container)

    async def _start_again(self, id: str) -> None:
        try:
            await self.containers.start(self.containers.find(id))
        except SkiffError as error:
            print(f"container {id[:12]} could not be started again: {error}", file=sys.stderr, flush=True)

    def _sweep(self) -> None:
        """Remove what a crash left on disk: half-made containers, temporary files, bundles of the dead."""
        known = {container.id for container in self.containers.all()}
        for directory in self.paths.containers.iterdir():
            if directory.name not in known:
                shutil.rmtree(directory, ignore_errors=True)
        for entry in self.paths.tmp.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
        if self.paths.bundles.is_dir():
            running = {container.id for container in self.containers.all() if container.is_running}
            for directory in self.paths.bundles.iterdir():
                if directory.name not in running:
                    shutil.rmtree(directory, ignore_errors=True)
        for directory in self.paths.volumes.iterdir():
            if not self.volumes.has(directory.name):
                shutil.rmtree(directory, ignore_errors=True)

    async def _hear_exits(self) -> None:
        async for ended in self.keeper.exits:
            if self.steps.owns(ended.id):
                self.steps.exited(ended)
            elif (container := self.containers.get(ended.id)) is not None:
                self.group.start_soon(self.containers.exited, container, ended)
            else:
                self.group.start_soon(self.execs.exited, ended)

    def ports_check(self, bindings: Sequence[Mapping[str, Any]]) -> None:
        """Raise ConflictError, naming the holder, when a host port of `bindings` can't be had."""
        self.networks.check_ports([parse_binding(f"0/{one.get('Protocol') or 'tcp'}", one) for one in bindings])

    # --- when it may go

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Keep the engine from going while the block runs: a connection, a stream."""
        self._busy += 1
        self._note()
        try:
            yield
        finally:
            self._busy -= 1
            self._note()

    def _note(self) -> None:
        self._activity.set()
        self._activity = anyio.Event()

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs and nobody is connected."""
        active = (RUNNING, PAUSED, RESTARTING)
        return self._busy == 0 and not any(c.state.status in active for c in self.containers.all())

    async def wait_until_idle(self, idle_s: float) -> None:
        """Return when the engine was idle for `idle_s` seconds, or was told to stop."""
        while not self.stopping.is_set():
            if not self.is_idle:
                with anyio.move_on_after(5):
                    await self._activity.wait()
                continue
            activity = self._activity
            with anyio.move_on_after(idle_s):
                await activity.wait()
            if not activity.is_set() and self.is_idle:
                return

    async def stop(self, *, force: bool) -> None:
        """End the engine. With `force`, what runs is killed first; without, containers live on without it."""
        if force:
            for container in self.containers.all():
                if container.is_running or container.state.status == RESTARTING:
                    await self.containers.stop(container, 9, 0)
        self.stopping.set()
        self._note()


class System:
    """What the engine says of itself and of the machine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def version(self) -> dict[str, Any]:
        """Return "Get version"."""
        own = installed_version("skiff")
        uname = os.uname()
        return {
            "Platform": {"Name": "Skiff"},
            "Components": [{"Name": "Engine", "Version": own, "Details": {"ApiVersion": API_VERSION}}],
            "Version": own,
            "ApiVersion": API_VERSION,
            "MinAPIVersion": LOWEST_API_VERSION,
            "GitCommit": "",
            "GoVersion": "",
            "PythonVersion": platform.python_version(),
            "Os": "linux",
            "Arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(uname.machine, uname.machine),
            "KernelVersion": uname.release,
            "Experimental": False,
            "BuildTime": "",
        }

    def info(self) -> dict[str, Any]:
        """Return "Get system information"."""
        engine = self._engine
        states = [container.state.status for container in engine.containers.all()]
        uname = os.uname()
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        unified = not Path("/sys/fs/cgroup/memory").exists()
        return {
            "ID": engine.paths.engine_id,
            "Containers": len(states),
            "ContainersRunning": states.count(RUNNING),
            "ContainersPaused": states.count(PAUSED),
            "ContainersStopped": len(states) - states.count(RUNNING) - states.count(PAUSED),
            "Images": len(engine.images.list()),
            "Driver": "overlay2",
            "DriverStatus": [["Backing Filesystem", "overlayfs"]],
            "Plugins": {
                "Volume": ["local"],
                "Network": ["bridge", "host", "null"],
                "Authorization": None,
                "Log": ["local"],
            },
            "MemoryLimit": True,
            "SwapLimit": True,
            "CpuCfsPeriod": True,
            "CpuCfsQuota": True,
            "CPUShares": True,
            "CPUSet": True,
            "PidsLimit": True,
            "IPv4Forwarding": True,
            "Debug": False,
            "LoggingDriver": "local",
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": "2" if unified else "1",
            "KernelVersion": uname.release,
            "OperatingSystem": _operating_system(),
            "OSType": "linux",
            "Architecture": uname.machine,
            "NCPU": os.cpu_count() or 1,
            "MemTotal": memory,
            "DockerRootDir": str(engine.paths.root),
            "Name": uname.nodename,
            "ServerVersion": installed_version("skiff"),
            "DefaultRuntime": "skiff",
            "Runtimes": {"skiff": {"path": "skiff"}},
            "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
            "Swarm": {"LocalNodeState": "inactive"},
            "LiveRestoreEnabled": True,
            "Warnings": None,
        }

    def df(self) -> dict[str, Any]:
        """Return "Get data usage information"."""
        engine = self._engine
        images = engine.image_api.list({}, all=True)
        return {
            "LayersSize": sum(image["Size"] for image in images),
            "Images": [{**image, "SharedSize": 0, "Containers": 0} for image in images],
            "Containers": [{**row, "SizeRw": 0, "SizeRootFs": 0} for row in engine.containers.list(all=True)],
            "Volumes": [
                {**volume, "UsageData": {"Size": 0, "RefCount": len(engine.containers.users_of(volume["Name"]))}}
                for volume in engine.volumes_api.list({})["Volumes"]
            ],
            "BuildCache": [],
        }

    def engine(self) -> dict[str, Any]:
        """Return what `skiff engine` shows: processes and places."""
        paths = self._engine.paths
        return {
            "engine_pid": os.getpid(),
            "keeper_pid": self._engine.keeper.pid,
            "root": str(paths.root),
            "run": str(paths.run),
            "socket": str(paths.engine_socket),
            "log": str(paths.engine_log),
        }


def _operating_system() -> str:
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return "Linux"
    return next((line.partition("=")[2].strip('"') for line in lines if line.startswith("PRETTY_NAME=")), "Linux")


def _say_what_was_lost(ids: Sequence[str]) -> None:
    shown = ", ".join(id[:12] for id in ids) or "none"
    print(
        f"the keeper died: a new one took over; processes that changed parents: {shown} "
        "(they run on; on kernels before 6.15 their exit codes will not be known)",
        file=sys.stderr,
        flush=True,
    )
