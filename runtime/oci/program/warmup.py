"""Waiting for the kernel while something else is done: what entering a version 1 cgroup costs, paid early.

Who enters one is first kept waiting for an RCU grace period (6 to 16 ms): cgroup_threadgroup_rwsem is a percpu lock
whose first writer has to make all readers known. For some time after, others do not wait.
"""

from __future__ import annotations

import contextlib
import os


def begin() -> None:
    """Have a child enter the cgroup that it is in already: no change, but the lock is a writer's then.

    A child and no thread: a process with threads can't be cloned by a bare system call, as the clone has none of them.
    """
    path = _own_cgroup()
    if path and os.fork() == 0:
        try:
            _enter(path)
        finally:
            os._exit(0)


def _own_cgroup() -> str | None:
    """Return where this process's version 1 cgroup is; None where there is none at the usual place."""
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
