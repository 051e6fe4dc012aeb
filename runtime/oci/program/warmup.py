"""Takes the delay of entering a version 1 cgroup in parallel with other work.

The first process that enters one waits for an RCU grace period (6 to 16 ms): cgroup_threadgroup_rwsem is a percpu lock,
and its first writer must wait for all readers. For some time after that, others do not wait.
"""

from __future__ import annotations

import contextlib
import os


def begin() -> None:
    """Let a child enter the cgroup that it is already in, which changes nothing, but takes the lock.

    A child instead of a thread: clone3(2) from a process with threads is unsafe, as the child would have only one.
    """
    path = _own_cgroup()
    if path and os.fork() == 0:
        try:
            _enter(path)
        finally:
            os._exit(0)


def _own_cgroup() -> str | None:
    """Return the cgroup.procs of this process's version 1 pids cgroup; None if it is not at the usual mount point."""
    with contextlib.suppress(OSError), open("/proc/self/cgroup") as file:
        for line in file:
            _number, controllers, path = line.rstrip("\n").split(":", 2)
            if controllers == "pids" and path:
                return f"/sys/fs/cgroup/pids{path}/cgroup.procs"
    return None


def _enter(path: str) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, b"0")
        finally:
            os.close(descriptor)
