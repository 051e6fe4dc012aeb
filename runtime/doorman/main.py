"""The doorman's program: `python -I -S main.py SOCKET READY`; exits at once if another one has SOCKET.

One byte is written to the descriptor READY when it listens. It uses only a small part of the standard library, since it
keeps running when nothing else of Skiff does.
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from runtime.doorman.loop import DoormanServer
from runtime.keeper import single


def main() -> None:
    """Serve on the given socket, unless another doorman does."""
    path, ready = sys.argv[1], int(sys.argv[2])
    lock = single.claim(path, ready)
    if lock is None:
        return
    doorman = DoormanServer(path)
    single.announce(lock, ready)
    doorman.run()


if __name__ == "__main__":
    main()
