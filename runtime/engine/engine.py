"""The engine as a whole: its rooms, put together; what it finds at its start; when it may go."""

from __future__ import annotations

import logging
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

import anyio
import anyio.abc
import anyio.to_thread

from runtime.build.builder import Builder
from runtime.container.prefork_template import prefork_template
from runtime.doorman.client import DoormanClient
from runtime.engine.background import Background, log_errors
from runtime.engine.containers.api import Containers
from runtime.engine.containers.lifecycle import Lifecycle
from runtime.engine.containers.making.creation import Creation
from runtime.engine.containers.making.init_layer import make_init_layer
from runtime.engine.containers.making.mounts import Mounts
from runtime.engine.containers.memory_watch import MemoryWatch
from runtime.engine.containers.process_monitor import ProcessMonitor
from runtime.engine.containers.remover import ContainerRemover
from runtime.engine.containers.state import EXITED, PAUSED, REMOVING, RESTARTING, RUNNING, Container
from runtime.engine.containers.table import ContainerTable
from runtime.engine.containers.views.files import Files
from runtime.engine.containers.views.listing import Listing
from runtime.engine.containers.views.sizes import Sizes
from runtime.engine.events import EventBus
from runtime.engine.images.api import ImageApi
from runtime.engine.images.making import ImageMaking
from runtime.engine.images.steps import Steps
from runtime.engine.networks.api import NetworkApi
from runtime.engine.networks.networking import ContainerNetworks
from runtime.engine.streams.exec import Execs
from runtime.engine.streams.streams import Streams
from runtime.engine.system.api import System
from runtime.engine.system.check import Check
from runtime.engine.system.disk_usage import DiskUsage
from runtime.engine.system.limits import MachineLimits
from runtime.engine.volumes.api import VolumeApi
from runtime.image.images import Images
from runtime.keeper.client import KeeperClient
from runtime.keeper.handles import ProcessHandle
from runtime.linux.ports import holder
from runtime.network.networks import Networks
from runtime.network.ports import parse_binding
from runtime.paths import Paths
from runtime.rootless.inside import Rootless
from runtime.store import Store
from runtime.trash import Trash
from runtime.volume.volumes import Volumes

logger = logging.getLogger(__name__)

IDLE_S = 30.0
STATE_NOTICE = "skiff state: "
"""How the engine's log begins what it says of something on disk that it goes without."""


class Engine:
    """One engine. Made by `open`; its rooms are its attributes."""

    def __init__(
        self,
        paths: Paths,
        store: Store,
        keeper: KeeperClient,
        group: anyio.abc.TaskGroup,
        rootless: Rootless | None,
        doorman: DoormanClient | None,
    ) -> None:
        self.paths = paths
        self.rootless = rootless
        self.store = store
        self.keeper = keeper
        self.background = Background(group)
        self.events = EventBus()
        self.trash = Trash(paths)
        self.images = Images(paths, store, self.trash)
        # of the group's methods, networks use the one that the guarded tasks have too
        self.networks = Networks(
            paths,
            store,
            cast(anyio.abc.TaskGroup, self.background),
            bridge_netns=paths.bridges_netns if rootless else None,
            find_holder=rootless.find_holder if rootless else holder,
        )
        self.volumes = Volumes(paths, store, self.trash)
        self.table = ContainerTable(store.collection("container"), self.events)
        self.networking = ContainerNetworks(paths, self.table, self.networks, self.events)
        self.execs = Execs(keeper, self.table, self.networking, self.background)
        limits = MachineLimits(paths.engine_id)
        remover = ContainerRemover(paths, self.table, self.networking, self.volumes, self.trash)
        mounts = Mounts(paths, self.table, self.volumes, self.images, keeper, self.events)
        self.memory = memory = MemoryWatch(self.table)
        self.lifecycle = Lifecycle(
            paths,
            self.table,
            keeper,
            self.images,
            mounts,
            self.networking,
            ProcessMonitor(paths, self.table, self.background, memory, self.execs.probe),
            memory,
            remover,
            self.background,
            store.flush,
        )
        self.creation = Creation(paths, self.table, self.images, self.networks, self.volumes, mounts, limits)
        self.streams = Streams(paths, self.table, keeper)
        self.files = Files(paths, self.images, keeper, self.table, mounts)
        self.containers = Containers(
            paths,
            self.table,
            keeper,
            self.images,
            self.networks,
            limits,
            self.lifecycle,
            remover,
            self.events,
            Listing(self.table, self.networks, self.images),
            Sizes(paths, self.images),
        )
        self.steps = Steps(paths, keeper, self.networks)
        self.image_api = ImageApi(paths, self.images, self.table, self.events)
        self.image_making = ImageMaking(paths, self.images, self.table, keeper, self.events)
        self.builder = Builder(paths, store, self.images, self.steps, self.image_api.pull_for_build)
        self.network_api = NetworkApi(self.networks, self.table, self.networking, self.events)
        self.volume_api = VolumeApi(paths, self.volumes, self.table, self.events)
        self.system = System(paths, keeper, self.table, self.images, self.events, limits, doorman)
        self.disk_usage = DiskUsage(
            paths, self.builder, self.table, self.containers, self.images, self.image_api, self.volume_api
        )
        self.check = Check(paths, store, self.table, self.networks, keeper, self.lifecycle, self.trash)
        self.extensions: dict[str, Any] = {}
        """What rooms above this one keep for as long as the engine runs, by their names."""
        self.stopping = anyio.Event()
        self._busy = 0
        self._activity = anyio.Event()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        paths: Paths,
        restart: Sequence[str],
        rootless: Rootless | None = None,
        doorman: DoormanClient | None = None,
    ) -> AsyncIterator[Engine]:
        """Open the engine of `paths`: take over what runs, repair what a crash left; `restart` is its own command.

        `rootless` are the namespaces of an engine without root; `doorman` holds what is to outlive engine and keeper.
        """
        for directory in (paths.root, paths.run, paths.containers, paths.volumes, paths.layers, paths.blobs, paths.tmp):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        make_init_layer(paths.init_layer)
        store = Store.open(paths)
        try:
            async with (
                KeeperClient.connect(
                    paths,
                    restart=restart,
                    on_lost=_say_what_was_lost,
                    prefork_template=prefork_template(),
                    vault=doorman,
                ) as keeper,
                anyio.create_task_group() as group,
            ):
                engine = cls(paths, store, keeper, group, rootless, doorman)
                await engine._take_over()
                await store.flush()
                for problem in store.problems:
                    logger.warning("%s%s", STATE_NOTICE, problem)
                if doorman is not None:
                    engine.background.start_soon(doorman.keep, keeper.held_containers)
                engine.background.start_soon(engine._hear_exits)
                engine.background.start_soon(engine.memory.run)
                engine.background.start_soon(engine.lifecycle.monitor.close_idle_logs)
                engine.background.start_soon(engine.trash.keep_empty, engine.busy)
                yield engine
                await engine.networks.withdraw()
                await keeper.bye()
                group.cancel_scope.cancel()
        finally:
            store.close()

    async def _take_over(self) -> None:
        """Bring store, keeper and disk together."""
        kept = {process.id: process for process in await self.keeper.list()}
        # what is in a container's cgroup after both engine and keeper died is taken over, the rest is ended
        unknown = (container.id for container in self.table if container.id not in kept)
        kept |= await self.keeper.recover({id: self.paths.bundles / id for id in unknown})
        await self.keeper.sweep()
        live: dict[str, str] = {}
        pids: dict[str, int] = {}
        ended: list[Container] = []
        for container in self.table:
            process = kept.get(container.id)
            if process is not None and process.exit is None:
                live[container.id] = container.name
                pids[container.id] = process.pid
                if (owner := self.networking.owner(container)) is not None:
                    live[owner.id] = owner.name
                    pids.setdefault(owner.id, process.pid)
            elif process is not None:
                ended.append(container)
        # endpoints and namespaces of containers that ended meanwhile are still to be left in order
        await self.networks.open({**live, **{container.id: container.name for container in ended}}, pids)
        for container in self.table:
            process = kept.pop(container.id, None)
            if process is not None:
                await log_errors(self._adopt, container, process)
            elif container.is_running:
                self.lifecycle.lost(container)
        await self.networks.adopted()
        for stray in kept.values():  # execs and build steps of the engine before
            await log_errors(self._end_stray, stray)
        await anyio.to_thread.run_sync(self._sweep)
        for container in self.table:
            self._resume(container)

    async def _adopt(self, container: Container, process: ProcessHandle) -> None:
        if process.may_miss_output:
            self.lifecycle.monitor.note_gap(container)
        await self.lifecycle.adopt(container, process)
        if process.exit is not None:
            await self.lifecycle.exited(container, process.exit)

    async def _end_stray(self, stray: ProcessHandle) -> None:
        if stray.exit is None:
            await self.keeper.signal(stray.id, 9)
        else:
            await self.keeper.forget(stray.id)
        stray.close()

    def _resume(self, container: Container) -> None:
        """Start a container that wants to run whenever the engine does; remove one that was to go when it ended."""
        if container.is_running:
            return
        state = container.state
        was_started = state.started_at[:4] != "0001"
        if state.status == RESTARTING or (was_started and container.policy.starts_with_engine(state.stopped_by_user)):
            self.background.start_soon(self.lifecycle.start_again, container)
        elif state.status == REMOVING or (container.host.get("AutoRemove") and state.status == EXITED):
            self.lifecycle.remove_later(container)

    def _sweep(self) -> None:
        """Throw away what a crash left on disk that is nobody's by where it is: temporary files, bundles of the dead."""
        for entry in self.paths.tmp.iterdir():
            self.trash.throw(entry)
        if self.paths.bundles.is_dir():
            running = {container.id for container in self.table if container.is_running}
            for directory in self.paths.bundles.iterdir():
                if directory.name not in running:
                    shutil.rmtree(directory, ignore_errors=True)

    async def _hear_exits(self) -> None:
        async for ended in self.keeper.exits:
            if self.steps.owns(ended.id):
                self.steps.exited(ended)
            elif (container := self.table.get(ended.id)) is not None:
                self.background.start_soon(self.lifecycle.exited, container, ended)
            else:
                self.background.start_soon(self.execs.exited, ended)

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
        return self._busy == 0 and not any(c.state.status in active for c in self.table)

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

    async def stop(self, *, force: bool, with_machine: bool = False) -> None:
        """End the engine. With `force`, what runs is killed first; without, containers live on without it.

        `with_machine` says that the machine goes down: containers are asked to end, and are back with the next engine
        where their restart policies say so.
        """
        if with_machine:
            await self.containers.stop_all()
        elif force:
            for container in self.table:
                if container.is_running or container.state.status == RESTARTING:
                    await log_errors(self.lifecycle.stop, container, 9, 0)  # one that can't be stopped keeps no engine
        self.stopping.set()
        self._note()


def _say_what_was_lost(ids: Sequence[str]) -> None:
    shown = ", ".join(id[:12] for id in ids) or "none"
    logger.warning(
        "the keeper died: a new one took over; processes that changed parents: %s "
        "(they run on; on kernels before 6.15 their exit codes will not be known)",
        shown,
    )
