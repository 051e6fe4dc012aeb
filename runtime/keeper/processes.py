"""The processes that the keeper manages: its own children and those it adopted, running and exited."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Mapping, Sequence

from runtime.hints import Any
from runtime.keeper.emptying import CgroupEmptier
from runtime.keeper.managed_process import ManagedProcess
from runtime.linux import pidfd as pidfds
from runtime.oci import cgroup_usage
from runtime.oci.cgroup import Cgroups

UNKNOWN_EXIT = 255


class Processes:
    """Processes by ID, each until it is forgotten. `report` is called with {"exited": id, …} when one exits."""

    def __init__(
        self, poll: select.epoll, cgroups: Cgroups, emptier: CgroupEmptier, report: Callable[[dict[str, Any]], None]
    ) -> None:
        self._poll = poll
        self._cgroups = cgroups
        self._emptier = emptier
        self._report = report
        self._kept: dict[str, ManagedProcess] = {}
        self._adopted: dict[int, ManagedProcess] = {}
        """Running processes that are not the keeper's children, by pidfd."""

    def __bool__(self) -> bool:
        return bool(self._kept)

    def __getitem__(self, id: str) -> ManagedProcess:
        return self._kept[id]

    def get(self, id: str) -> ManagedProcess | None:
        """Return process `id`, None if it is not managed."""
        return self._kept.get(id)

    @property
    def ids(self) -> list[str]:
        """All IDs, sorted."""
        return sorted(self._kept)

    @property
    def cgroup_paths(self) -> set[str | None]:
        """The cgroups of all processes."""
        return {kept.cgroup for kept in self._kept.values()}

    @property
    def any_runs(self) -> bool:
        """Whether at least one has not exited."""
        return any(kept.exit is None for kept in self._kept.values())

    def add(self, kept: ManagedProcess) -> None:
        """Add a child that has called execve(2)."""
        self._kept[kept.id] = kept

    def adopt(self, message: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        """Add a process of an earlier keeper; `descriptors` are the pidfd and, in order, those named in `fds`."""
        kept = ManagedProcess(
            message["id"], message["pid"], descriptors[0], dict(zip(message["fds"], descriptors[1:], strict=True)),
            message["cgroup"], message["container"],
        )  # fmt: skip
        kept.started_at_ns = message["started_at_ns"]
        kept.exit = message["exit"]
        self.add(kept)
        if kept.exit is None:
            self._adopted[kept.pidfd] = kept
            # edge-triggered: one event when it exits, another when its parent reaps it
            self._poll.register(kept.pidfd, select.EPOLLIN | select.EPOLLET)

    def forget(self, id: str, then: Callable[[], None]) -> None:
        """Drop a process, and call `then` once its cgroup is removed."""
        kept = self._kept.pop(id, None)
        if kept is not None:
            if self._adopted.pop(kept.pidfd, None) is not None:
                self._poll.unregister(kept.pidfd)
            kept.close()
            if kept.cgroup and kept.id == kept.container:
                self._emptier.remove(kept.cgroup, then)
                return
        then()

    # --- ends

    def reap(self, ended: Callable[[int], None], *, spares_strangers: bool) -> None:
        """Reap all children that have exited. `ended` is called with the PIDs of those that are not managed here.

        With `spares_strangers`, children that are not managed are left as zombies: one may belong to a launch that is
        not answered yet, and its PID can't be reused while it is not reaped.
        """
        live = {kept.pid: kept for kept in self._kept.values() if kept.exit is None and kept.pidfd not in self._adopted}
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            if spares_strangers and found.si_pid not in live:
                break  # waitid(P_ALL) would return this one again and again: ask for each known child below
            pid, status = os.waitpid(found.si_pid, os.WNOHANG)
            if pid in live:
                self._note_exit(live.pop(pid), status)
            else:
                ended(pid)
        for kept in live.values():
            pid, status = os.waitpid(kept.pid, os.WNOHANG)
            if pid:
                self._note_exit(kept, status)

    def has_adopted(self, pidfd: int) -> bool:
        """Whether `pidfd` is that of a running adopted process."""
        return pidfd in self._adopted

    def serve_adopted(self, pidfd: int) -> None:
        """Record the exit of an adopted process. waitpid(2) works for its parent only; Linux 6.15 knows it by pidfd."""
        kept = self._adopted[pidfd]
        status = None
        if pidfds.remembers_exits():
            try:
                status = pidfds.wait_status(pidfd)
            except OSError:
                status = None
            else:
                if status is None:  # its parent has not reaped it yet; another event (EPOLLHUP) follows when it has
                    return
        self._poll.unregister(pidfd)
        del self._adopted[pidfd]
        self._note_exit(kept, status)

    def _note_exit(self, kept: ManagedProcess, status: int | None) -> None:
        """Record and report an exit; `status` is a wait status, None if it can't be known."""
        number = os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None
        known = UNKNOWN_EXIT if status is None else os.WEXITSTATUS(status)
        kept.exit = {
            "pid": kept.pid,
            "exit_code": 128 + number if number else known,
            "signal": number,
            "oom_killed": bool(kept.cgroup and cgroup_usage.oom_kills(self._cgroups, kept.cgroup)),
            "finished_at_ns": time.time_ns(),
        }
        if kept.cgroup and kept.id == kept.container:
            # a PID namespace ends with its init; a container in the host's namespace may leave other processes behind
            self._emptier.kill(kept.cgroup)
        self._report({"exited": kept.id, **kept.exit})
