"""The keeper's program: the parent process of every container, which holds its pipes and its exit status.

Standard library and ctypes alone, one thread, one event loop. Run as `python -I -S main.py SOCKET READY`: one byte is
written to descriptor READY once it listens. Everything else is in modules, of which Python caches the bytecode:
compiling at each start would leave the compiler's memory in the keeper.
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
    """Serve on the given socket, unless another keeper does."""
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
