"""The keeper: parent of every container, holder of its pipes and exit codes.

Standard library and ctypes alone, one thread, one poll loop. Run as `python -I -S main.py SOCKET
READY`; one byte on descriptor READY tells that the socket is there. Everything else is in modules that Python keeps
compiled: compiling them at each start would stay in the keeper's memory.
"""

from __future__ import annotations

import fcntl
import os
import resource
import select
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from runtime.keeper.loop import Keeper
from runtime.linux import syscalls as linux
from runtime.oci import launch

HOLDER_S = 10.0
"""How long who holds the lock has to listen, or to end."""


def main() -> None:
    """Become the keeper of the run directory whose socket is named, unless it has one."""
    ready = int(sys.argv[2])
    launch.close_all_but([ready])
    _print_into(os.path.join(os.path.dirname(sys.argv[1]), "engine.log"))
    # a record lock, which children do not inherit, held as long as this process lives
    lock = os.open(sys.argv[1] + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline_s = time.monotonic() + HOLDER_S
    while not _is_ours(lock):
        # its holder may be about to listen: the lock file has content once it does
        if os.fstat(lock).st_size:
            os.write(ready, b"r")
            return
        if time.monotonic() > deadline_s:
            sys.exit(f"skiff keeper: another one has {sys.argv[1]}.lock, and neither listens nor ends: end it")
        select.select((), (), (), 0.005)
    if os.path.lexists(sys.argv[1]):
        os.unlink(sys.argv[1])
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    # a container takes four descriptors; the default of 1,024 would end at 250 of them
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.ftruncate(lock, 0)
    keeper = Keeper(sys.argv[1])
    os.write(lock, b"%d\n" % os.getpid())
    os.write(ready, b"r")
    os.close(ready)
    keeper.run()


def _print_into(log: str) -> None:
    """Print into the engine's log: a terminal or a pipe that nobody reads would stop the keeper with its first line."""
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


if __name__ == "__main__":
    main()
