"""The engine as a whole: builds its parts, takes over what runs at its start, and decides when it may exit."""

from __future__ import annotations

import logging
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

import anyio
import anyio.abc
import anyio.to_thread

from runtime.bodies import HostPortBody
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
from runtime.engine.idle import leave_mark, take_mark
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
"""Prefix in the log for problems with files of the state root."""


class Engine:
    """One engine, made by `open`; its parts are its attributes."""

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
        self.images = Images(paths, store, self.trash, mounts_layers=not os.environ.get("SKIFF_UNPACK"))
        # Networks uses only `start_soon` of the group
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
        self.check = Check(paths, store, self.table, self.networks, keeper, self.lifecycle, self.trash, self.images)
        self.extensions: dict[str, Any] = {}
        """State of packages above this one (`api.buildkit`) that lives as long as the engine, by name."""
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
        """Open the engine of `paths`: take over running containers and repair what a crash left.

        `restart` is its command line, for the keeper. `rootless` are the namespaces of an engine without root; `doorman`
        keeps descriptors that must outlive engine and keeper.
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
                    on_lost=_log_lost_keeper,
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
                engine.background.start_soon(engine._handle_exits)
                engine.background.start_soon(engine.memory.run)
                engine.background.start_soon(engine.lifecycle.monitor.close_idle_logs)
                engine.background.start_soon(engine.trash.keep_empty, engine.busy)
                yield engine
                await engine.networks.withdraw()
                await anyio.to_thread.run_sync(engine.images.layers.release)
                await keeper.bye()
                group.cancel_scope.cancel()
        finally:
            store.close()

    async def _take_over(self) -> None:
        """Compare store, keeper and kernel at the start, and adopt, record or remove what differs.

        record says   keeper has                     then
        running       a running process              adopt it
        running       an exited process              adopt it, then handle its exit
        running       nothing; recovered from        adopt it (`KeeperClient.recover`)
                      doorman or /proc
        running       nothing                        exit status unknown (255)
        any other     nothing                        start it if its restart policy says so, remove it if AutoRemove
        (no record)   an exec or build step          kill it
        """
        kept = {process.id: process for process in await self.keeper.list()}
        # after a crash of both engine and keeper: recover containers, then kill everything else in our cgroups
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
        # endpoints of containers that have exited must be opened too, so that they can be left properly
        await self.networks.open({**live, **{container.id: container.name for container in ended}}, pids)
        for container in self.table:
            process = kept.pop(container.id, None)
            if process is not None:
                await log_errors(self._adopt, container, process)
            elif container.is_running:
                self.lifecycle.lost(container)
        await self.networks.adopted()
        for stray in kept.values():  # execs and build steps of the previous engine
            await log_errors(self._end_stray, stray)
        await anyio.to_thread.run_sync(self._sweep)
        was_idle = take_mark(self.paths)
        for container in self.table:
            self._resume(container, was_idle=was_idle)

    async def _adopt(self, container: Container, process: ProcessHandle) -> None:
        if process.may_miss_output:
            self.lifecycle.monitor.note_gap(container)
        await self.lifecycle.adopt(container, process)
        if process.exit is not None:
            await self.lifecycle.exited(container, process.exit)

    async def _end_stray(self, stray: ProcessHandle) -> None:
        if stray.exit is None:
            await self.keeper.signal(stray.id, signal.SIGKILL)
        else:
            await self.keeper.forget(stray.id)
        stray.close()

    def _resume(self, container: Container, *, was_idle: bool) -> None:
        """Start a stopped container if its restart policy says so; remove it if it has AutoRemove.

        `was_idle`: the last engine exited because it was idle; what its user had stopped stays stopped.
        """
        if container.is_running:
            return
        state = container.state
        stays_stopped = was_idle and state.stopped_by_user
        if state.status == RESTARTING or (
            state.was_started and not stays_stopped and container.policy.starts_with_engine(state.stopped_by_user)
        ):
            self.background.start_soon(self.lifecycle.start_again, container)
        elif state.status == REMOVING or (container.host.get("AutoRemove") and state.status == EXITED):
            self.lifecycle.remove_later(container)

    def _sweep(self) -> None:
        """Remove what a crash left on disk: temporary files, bundles of containers that are not running."""
        for entry in self.paths.tmp.iterdir():
            self.trash.throw(entry)
        if self.paths.bundles.is_dir():
            running = {container.id for container in self.table if container.is_running}
            for directory in self.paths.bundles.iterdir():
                if directory.name not in running:
                    shutil.rmtree(directory, ignore_errors=True)

    async def _handle_exits(self) -> None:
        async for ended in self.keeper.exits:
            if self.steps.owns(ended.id):
                self.steps.exited(ended)
            elif (container := self.table.get(ended.id)) is not None:
                self.background.start_soon(self.lifecycle.exited, container, ended)
            else:
                self.background.start_soon(self.execs.exited, ended)

    def ports_check(self, bindings: Sequence[HostPortBody]) -> None:
        """Raise ConflictError, with the process that has the port, if a host port of `bindings` is not available."""
        self.networks.check_ports([parse_binding(f"0/{one.get('Protocol') or 'tcp'}", one) for one in bindings])

    # --- exit

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Keep the engine from exiting while the block runs: a connection, a stream."""
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
        """Whether no container is running and no client is connected."""
        active = (RUNNING, PAUSED, RESTARTING)
        return self._busy == 0 and not any(c.state.status in active for c in self.table)

    async def wait_until_idle(self, idle_s: float) -> None:
        """Return once the engine was idle for `idle_s` seconds, or `stop` was called."""
        while not self.stopping.is_set():
            if not self.is_idle:
                with anyio.move_on_after(5):
                    await self._activity.wait()
                continue
            activity = self._activity
            with anyio.move_on_after(idle_s):
                await activity.wait()
            if not activity.is_set() and self.is_idle:
                leave_mark(self.paths)
                return

    async def stop(self, *, force: bool, with_machine: bool = False) -> None:
        """Stop the engine; its containers run on. With `force` they are killed first.

        `with_machine`: the machine shuts down. Containers are stopped, and restarted with the next engine by their restart
        policies.
        """
        if with_machine:
            await self.containers.stop_all()
        elif force:
            for container in self.table:
                if container.is_running or container.state.status == RESTARTING:
                    await log_errors(self.lifecycle.stop, container, signal.SIGKILL, 0)
        self.stopping.set()
        self._note()


def _log_lost_keeper(ids: Sequence[str]) -> None:
    shown = ", ".join(id[:12] for id in ids) or "none"
    logger.warning(
        "the keeper died and another was started; processes that run on under another parent: %s "
        "(on kernels before 6.15 their exit codes will not be known)",
        shown,
    )
