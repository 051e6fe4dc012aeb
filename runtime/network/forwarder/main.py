"""The forwarder: `python -I -S main.py CONTROL LOCK`, standard library alone, one thread, one poll loop.

CONTROL is the descriptor of the socket on which it listens for the engine. LOCK is the keeper's lock file: when neither
an engine is connected nor a keeper lives, nothing runs that a port could lead to, and the forwarder goes.
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
    """Forward what the engine asks for until nothing is left to."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with open("/proc/self/comm", "w") as name:  # whoever looks who has a port finds this
        name.write(NAME)
    loop = Loop()
    ForwarderControl(loop, socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
    loop.run()


if __name__ == "__main__":
    main()
