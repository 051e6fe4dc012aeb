"""What a small process of the run directory does at its start: be the only one, print into the log, tell its starter."""

from __future__ import annotations

import fcntl
import os
import resource
import select
import sys
import time

HOLDER_S = 10.0
"""How long who holds the lock has to listen, or to end."""


def claim(path: str, ready: int) -> int | None:
    """Become the process that listens at socket `path`: return the lock, or None where another one listens already.

    The lock is a record lock, which children do not inherit, on a file beside the socket; it has content, its holder's
    number, once that listens (`announce`). Whoever started us is told through `ready`.
    """
    _print_into(os.path.join(os.path.dirname(path), "engine.log"))
    lock = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline_s = time.monotonic() + HOLDER_S
    while not _is_ours(lock):
        if os.fstat(lock).st_size:
            os.write(ready, b"r")
            return None
        if time.monotonic() > deadline_s:
            sys.exit(f"skiff: another process has {path}.lock, and neither listens nor ends: end it")
        select.select((), (), (), 0.005)
    os.ftruncate(lock, 0)
    if os.path.lexists(path):
        os.unlink(path)
    # a container takes four descriptors; the default of 1,024 would end at 250 of them
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return lock


def announce(lock: int, ready: int) -> None:
    """Tell that this process listens."""
    os.write(lock, b"%d\n" % os.getpid())
    os.write(ready, b"r")
    os.close(ready)


def _print_into(log: str) -> None:
    """Print into the engine's log: a terminal or a pipe that nobody reads would stop us with the first line."""
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
