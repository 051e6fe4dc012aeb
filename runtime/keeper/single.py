"""The start of keeper and doorman: take the lock, print into the engine's log, report to the parent when it listens."""

from __future__ import annotations

import fcntl
import os
import resource
import select
import sys
import time

HOLDER_S = 10.0
"""How long the holder of the lock may take to listen or to exit."""


def claim(path: str, ready: int) -> int | None:
    """Take the lock of the socket `path` and return it; None if another process listens there already.

    The lock is a record lock on `<path>.lock`, which children do not inherit. The file contains the holder's PID once it
    listens (`announce`); until then others wait. A byte is written to `ready` when somebody listens.
    """
    _print_into(os.path.join(os.path.dirname(path), "engine.log"))
    lock = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline_s = time.monotonic() + HOLDER_S
    while not _is_ours(lock):
        if os.fstat(lock).st_size:
            os.write(ready, b"r")
            return None
        if time.monotonic() > deadline_s:
            sys.exit(f"skiff: another process has locked {path}.lock and neither listens nor exits: kill it")
        select.select((), (), (), 0.005)
    os.ftruncate(lock, 0)
    if os.path.lexists(path):
        os.unlink(path)
    # a container takes four descriptors: the default limit of 1,024 would allow 250 containers
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return lock


def announce(lock: int, ready: int) -> None:
    """Record in the lock file, and report to the parent, that this process listens."""
    os.write(lock, b"%d\n" % os.getpid())
    os.write(ready, b"r")
    os.close(ready)


def _print_into(log: str) -> None:
    """Redirect stdout and stderr to the engine's log: a terminal or pipe without a reader would block or kill us."""
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _is_ours(lock: int) -> bool:
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
