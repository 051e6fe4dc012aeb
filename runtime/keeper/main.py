"""The keeper: parent of every container, holder of its pipes and exit codes.

Standard library and ctypes alone, one thread, one poll loop. Run as `python -I -S main.py SOCKET
READY`; one byte on descriptor READY tells that the socket is there. Everything else is in modules that Python keeps
compiled: compiling them at each start would stay in the keeper's memory.
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from runtime.keeper import single
from runtime.keeper.loop import KeeperServer
from runtime.linux import syscalls as linux
from runtime.oci import launch


def main() -> None:
    """Become the keeper of the run directory whose socket is named, unless it has one."""
    path, ready = sys.argv[1], int(sys.argv[2])
    launch.close_all_but([ready])
    lock = single.claim(path, ready)
    if lock is None:
        return
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    keeper = KeeperServer(path)
    single.announce(lock, ready)
    keeper.run()


if __name__ == "__main__":
    main()
