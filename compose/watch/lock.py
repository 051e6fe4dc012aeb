"""A lock for each project: two watchers would do everything twice."""

from __future__ import annotations

import os
import socket
import struct
from hashlib import sha256

from runtime.errors import SkiffError

PEER = struct.Struct("3i")
"""struct ucred: process, user, group (unix(7), SO_PEERCRED)."""


def lock(project: str, engine: str) -> socket.socket:
    """Return a socket that locks `project` on the engine at address `engine` while it is open.

    Its name is in the abstract namespace (unix(7)): the kernel frees it when the process exits. Raises SkiffError where
    another process has it.
    """
    name = b"\0skiff-watch-" + sha256(f"{os.getuid()} {engine} {project}".encode()).hexdigest()[:32].encode()
    held = socket.socket(socket.AF_UNIX)
    try:
        held.bind(name)
    except OSError:
        held.close()
        raise SkiffError(
            f'cannot take exclusive lock for project "{project}": process with PID {_holder(name)} is still running',
            "it watches already; end it first",
        ) from None
    held.listen()
    return held


def _holder(name: bytes) -> int:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(name)
        except OSError:
            return 0  # it exited just now
        return int(PEER.unpack(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))[0])
