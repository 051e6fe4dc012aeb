"""`python -I -S main.py SOCKET READY`: become the doorman of the run directory in which SOCKET lies, unless it has one.

One byte on descriptor READY tells that the socket is there. Standard library alone, and little of it: this process stays
when nothing else of Skiff runs.
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from runtime.doorman.loop import DoormanServer
from runtime.keeper import single


def main() -> None:
    """See the module."""
    path, ready = sys.argv[1], int(sys.argv[2])
    lock = single.claim(path, ready)
    if lock is None:
        return
    doorman = DoormanServer(path)
    single.announce(lock, ready)
    doorman.run()


if __name__ == "__main__":
    main()
