"""Tells when containers run out of memory, at the moment when they do (Docker Engine API, event "oom")."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

import anyio

from runtime.engine.containers.state import Container
from runtime.engine.containers.table import ContainerTable
from runtime.oci.cgroup import Cgroups
from runtime.oci.oom import OomWatch


@dataclass(frozen=True, eq=False)
class MemoryWatch:
    """Watches the memory of running containers."""

    table: ContainerTable

    async def watch(self, container: Container, cgroup: str) -> None:
        """Tell of every time that the container's `cgroup` runs out of memory, until cancelled."""
        try:
            watch = OomWatch(Cgroups(), cgroup)
        except (OSError, KeyError):  # no controller of memory, or gone again: its exit tells
            return
        with closing(watch):
            while True:
                await anyio.wait_readable(watch.fileno())
                if watch.has_happened():
                    self.tell(container)
                elif not container.is_running:
                    return

    def tell(self, container: Container) -> None:
        """Take note that the container ran out of memory."""
        container.has_told_oom = container.state.oom_killed = True
        self.table.save(container)
        self.table.tell(container, "oom")

    def end(self, container: Container, *, oom_killed: bool) -> None:
        """Tell at the process's end what nobody has told before."""
        if oom_killed and not container.has_told_oom:
            self.table.tell(container, "oom")
