"""Emits the event "oom" when the OOM killer acts in a container (Docker Engine API, "Monitor events")."""

from __future__ import annotations

import errno
import logging
from contextlib import closing

import anyio

from runtime.engine.containers.state import Container
from runtime.engine.containers.table import ContainerTable
from runtime.errors import KernelError
from runtime.oci.cgroup import Cgroups
from runtime.oci.oom import LegacyOomWatch, OomWatches

logger = logging.getLogger(__name__)

PAUSES_S = (0.002, 0.01, 0.05, 0.2)
"""Between looks for a kill that was announced: nothing says that it is done. What comes later is reported at the exit."""


class MemoryWatch:
    """Watches running containers for OOM kills.

    With cgroup version 1 only those with a memory limit are watched, by a descriptor each. For the others the event is
    emitted when their process exits.
    """

    def __init__(self, table: ContainerTable) -> None:
        self._table = table
        self._cgroups = Cgroups()
        self._watches = _watches_of(self._cgroups)
        self._containers: dict[int, Container] = {}
        """Watch descriptor → container, with cgroup version 2."""

    async def run(self) -> None:
        """Report OOM kills under cgroup version 2, until cancelled."""
        while self._watches is not None:
            await anyio.wait_readable(self._watches.fileno())
            for watch in self._watches.news():
                self.report(self._containers[watch])

    async def watch(self, container: Container, cgroup: str) -> None:
        """Watch the container's `cgroup`, until cancelled."""
        if self._cgroups.is_unified:
            await self._watch_unified(container, cgroup)
            return
        while not container.host.get("Memory"):  # an update may set a limit
            await container.changed.wait()
        await self._watch_legacy(container, cgroup)

    async def _watch_unified(self, container: Container, cgroup: str) -> None:
        if self._watches is None:
            return
        try:
            watch = self._watches.add(cgroup)
        except KernelError as error:  # no memory controller, cgroup gone, or no inotify watch: reported at exit
            _log_missing_watch(error)
            return
        self._containers[watch] = container
        try:
            await anyio.sleep_forever()
        finally:
            self._watches.remove(watch)
            del self._containers[watch]

    async def _watch_legacy(self, container: Container, cgroup: str) -> None:
        try:
            watch = LegacyOomWatch(self._cgroups, cgroup)
        except (OSError, KeyError):  # no memory controller, or cgroup gone: reported at exit
            return
        with closing(watch):
            while True:
                await anyio.wait_readable(watch.fileno())
                if watch.take() and await _has_killed(watch):
                    self.report(container)
                elif not container.is_running:
                    return

    def report(self, container: Container) -> None:
        """Record and report an OOM kill in the container."""
        container.has_reported_oom = container.state.oom_killed = True
        self._table.save(container)
        self._table.emit(container, "oom")

    def end(self, container: Container, *, oom_killed: bool) -> None:
        """Emit the event when the process exits, unless it was emitted before."""
        if oom_killed and not container.has_reported_oom:
            self._table.emit(container, "oom")


async def _has_killed(watch: LegacyOomWatch) -> bool:
    """Wait, after a notification, for the kill that it announces; return whether it came."""
    for pause_s in PAUSES_S:
        if watch.has_happened():
            return True
        await anyio.sleep(pause_s)
    return watch.has_happened()


def _watches_of(cgroups: Cgroups) -> OomWatches | None:
    if not cgroups.is_unified:
        return None
    try:
        return OomWatches(cgroups)
    except KernelError as error:
        _log_missing_watch(error)
        return None


def _log_missing_watch(error: KernelError) -> None:
    if error.errno != errno.ENOENT:
        logger.warning("OOM kills are reported only when the container exits: %s", error)
