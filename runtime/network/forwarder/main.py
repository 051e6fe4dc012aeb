"""The forwarder's program: `python -I -S main.py CONTROL LOCK`, standard library alone, one thread, one event loop.

CONTROL is the descriptor of its listening control socket. LOCK is the keeper's lock file: when no engine is connected and
no keeper lives, there are no containers either, and the forwarder exits.
"""

from __future__ import annotations

import os
import resource
import socket
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))))

from runtime.network.forwarder.control import ForwarderControl
from runtime.network.forwarder.loop import Loop

NAME = "skiff-ports"


def main() -> None:
    """Forward ports until there is neither an engine nor a keeper."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with open("/proc/self/comm", "w") as name:  # shown by tools such as ss(8)
        name.write(NAME)
    loop = Loop()
    ForwarderControl(loop, socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
    loop.run()


if __name__ == "__main__":
    main()
