"""Kills the processes of cgroups and removes the cgroups, in workers: the keeper must not wait for a process to die."""

from __future__ import annotations

import select
from collections.abc import Callable

from runtime.errors import KernelError
from runtime.keeper.workers import Workers
from runtime.oci.cgroup import SETTLE_S, Cgroups

LIMIT_S = 3 * SETTLE_S
"""Time limit of a worker. A process that hangs in the kernel (state D) for longer stays, and so does its cgroup."""


def nothing() -> None:
    """The default callback."""


class CgroupEmptier:
    """Empties cgroups. While `is_busy(path)`, no process may be put into the cgroup: it would be killed."""

    def __init__(self, cgroups: Cgroups, workers: Workers) -> None:
        self._cgroups = cgroups
        self._workers = workers
        self._waiting: dict[str, list[Callable[[], None]]] = {}
        self._when_idle: list[Callable[[], None]] = []

    def is_busy(self, path: str) -> bool:
        """Whether cgroup `path` is being emptied."""
        return path in self._waiting

    def after(self, path: str, then: Callable[[], None]) -> None:
        """Call `then` once the emptying of cgroup `path`, which is under way, has ended."""
        self._waiting[path].append(then)

    def when_idle(self, then: Callable[[], None]) -> None:
        """Call `then` once nothing is being emptied."""
        if self._waiting:
            self._when_idle.append(then)
        else:
            then()

    def remove(self, path: str, then: Callable[[], None] = nothing, *, once_ended: int = -1) -> None:
        """Kill all processes of cgroup `path`, remove it, and call `then`; if it is empty, as mostly, synchronously.

        `once_ended` is the pidfd of a killed process that may still create or enter the cgroup, which is awaited first;
        -1 for none.
        """
        if path in self._waiting:
            self.after(path, lambda: self.remove(path, then))
        elif once_ended < 0 and self._cgroups.remove_if_empty(path):
            then()
        else:
            self._empty(path, lambda: self._remove(path, once_ended), then, [once_ended] if once_ended >= 0 else [])

    def kill(self, path: str) -> None:
        """Kill all processes of cgroup `path`, and keep the cgroup."""
        if path not in self._waiting and self._cgroups.processes(path):
            self._empty(path, lambda: self._cgroups.kill(path), nothing, [])

    def _remove(self, path: str, once_ended: int) -> None:
        if once_ended >= 0:
            poll = select.poll()  # select(2) knows no descriptor above 1,023
            poll.register(once_ended, select.POLLIN)
            poll.poll(SETTLE_S * 1000)
        self._cgroups.remove(path)

    def _empty(self, path: str, work: Callable[[], None], then: Callable[[], None], kept: list[int]) -> None:
        self._waiting[path] = [then]

        def done(_: object) -> None:
            for one in self._waiting.pop(path):
                one()
            if not self._waiting:
                idle, self._when_idle = self._when_idle, []
                for one in idle:
                    one()

        try:
            self._workers.start(work, done, kept=kept, limit_s=LIMIT_S)
        except (OSError, KernelError):  # fork failed: the `sweep` of the next engine removes the cgroup
            done(None)
