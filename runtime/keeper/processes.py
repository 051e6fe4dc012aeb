"""The processes that the keeper has: its own children and those it adopted, live and ended."""

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
    """Processes by id. `tell` passes on how one ended; it is known here until it is forgotten."""

    def __init__(
        self, poll: select.epoll, cgroups: Cgroups, emptier: CgroupEmptier, report: Callable[[dict[str, Any]], None]
    ) -> None:
        self._poll = poll
        self._cgroups = cgroups
        self._emptier = emptier
        self._report = report
        self._kept: dict[str, ManagedProcess] = {}
        self._adopted: dict[int, ManagedProcess] = {}
        """Those that run and are not our children, by their pidfds."""

    def __bool__(self) -> bool:
        return bool(self._kept)

    def __getitem__(self, id: str) -> ManagedProcess:
        return self._kept[id]

    def get(self, id: str) -> ManagedProcess | None:
        """Return process `id`, if it is here."""
        return self._kept.get(id)

    @property
    def ids(self) -> list[str]:
        """All ids, in order."""
        return sorted(self._kept)

    @property
    def cgroup_paths(self) -> set[str | None]:
        """The cgroups of all."""
        return {kept.cgroup for kept in self._kept.values()}

    @property
    def any_runs(self) -> bool:
        """Whether one of them has not ended."""
        return any(kept.exit is None for kept in self._kept.values())

    def add(self, kept: ManagedProcess) -> None:
        """Take in a child that executes."""
        self._kept[kept.id] = kept

    def adopt(self, message: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        """Take in a process of an earlier keeper; the descriptors are the pidfd's and those of `fds`, in order."""
        kept = ManagedProcess(
            message["id"], message["pid"], descriptors[0], dict(zip(message["fds"], descriptors[1:], strict=True)),
            message["cgroup"], message["container"],
        )  # fmt: skip
        kept.started_at_ns = message["started_at_ns"]
        kept.exit = message["exit"]
        self.add(kept)
        if kept.exit is None:
            self._adopted[kept.pidfd] = kept
            # edge-triggered: one event when it ends, one more when its parent reaps it
            self._poll.register(kept.pidfd, select.EPOLLIN | select.EPOLLET)

    def forget(self, id: str, then: Callable[[], None]) -> None:
        """Drop a process, and call `then` when its cgroup is gone too."""
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
        """Take note of every child that ended, `ended` of those that are none of these processes.

        With `spares_strangers` these are left for later: one may be that of a launch which is not answered yet, and its
        number stays its own only until it is reaped.
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
                break  # whoever waits for any child is told of this one first
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
        """Whether `pidfd` is that of an adopted process that runs."""
        return pidfd in self._adopted

    def serve_adopted(self, pidfd: int) -> None:
        """Learn how an adopted process ended: another is its parent, so the kernel is asked instead of waitpid(2)."""
        kept = self._adopted[pidfd]
        status = None
        if pidfds.remembers_exits():
            try:
                status = pidfds.wait_status(pidfd)
            except OSError:
                status = None
            else:
                if status is None:  # its new parent has not reaped it: the pidfd hangs up when it has
                    return
        self._poll.unregister(pidfd)
        del self._adopted[pidfd]
        self._note_exit(kept, status)

    def _note_exit(self, kept: ManagedProcess, status: int | None) -> None:
        """Keep how a process ended (a wait status; None when nobody can know) and tell it."""
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
            # a PID namespace ends with its first process; one that shares the host's may leave others behind
            self._emptier.kill(kept.cgroup)
        self._report({"exited": kept.id, **kept.exit})
