"""Tells when containers run out of memory, at the moment when they do (Docker Engine API, event "oom")."""

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


class MemoryWatch:
    """Watches the memory of running containers.

    With cgroup version 1 those that have a limit of their own, by a descriptor each; whoever shares a limit with others
    is told of at its end alone.
    """

    def __init__(self, table: ContainerTable) -> None:
        self._table = table
        self._cgroups = Cgroups()
        self._watches = _watches_of(self._cgroups)
        self._containers: dict[int, Container] = {}
        """Those that are watched with version 2, by watch."""

    async def run(self) -> None:
        """Tell of every container that runs out of memory under cgroup version 2, until cancelled."""
        while self._watches is not None:
            await anyio.wait_readable(self._watches.fileno())
            for watch in self._watches.news():
                self.report(self._containers[watch])

    async def watch(self, container: Container, cgroup: str) -> None:
        """Have every time told that the container's `cgroup` runs out of memory, until cancelled."""
        if self._cgroups.is_unified:
            await self._watch_unified(container, cgroup)
            return
        while not container.host.get("Memory"):  # an update may bring a limit
            await container.changed.wait()
        await self._watch_legacy(container, cgroup)

    async def _watch_unified(self, container: Container, cgroup: str) -> None:
        if self._watches is None:
            return
        try:
            watch = self._watches.add(cgroup)
        except KernelError as error:  # no controller of memory, gone again, or no watch left: its exit tells
            _say_what_is_missed(error)
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
        except (OSError, KeyError):  # no controller of memory, or gone again: its exit tells
            return
        with closing(watch):
            while True:
                await anyio.wait_readable(watch.fileno())
                if watch.has_happened():
                    self.report(container)
                elif not container.is_running:
                    return

    def report(self, container: Container) -> None:
        """Take note that the container ran out of memory."""
        container.has_told_oom = container.state.oom_killed = True
        self._table.save(container)
        self._table.emit(container, "oom")

    def end(self, container: Container, *, oom_killed: bool) -> None:
        """Tell at the process's end what nobody has told before."""
        if oom_killed and not container.has_told_oom:
            self._table.emit(container, "oom")


def _watches_of(cgroups: Cgroups) -> OomWatches | None:
    if not cgroups.is_unified:
        return None
    try:
        return OomWatches(cgroups)
    except KernelError as error:
        _say_what_is_missed(error)
        return None


def _say_what_is_missed(error: KernelError) -> None:
    if error.errno != errno.ENOENT:
        logger.warning("that a container ran out of memory is told at its end only: %s", error)
