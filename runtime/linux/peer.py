"""Who is at the other end of a unix socket."""

from __future__ import annotations

import socket
import struct

_CREDENTIALS = struct.Struct("iII")
"""struct ucred: PID, UID, GID."""


def peer_pid(connection: socket.socket) -> int:
    """Return the PID of the process that connected, as it is seen here; 0 for one of another PID namespace.

    Source: unix(7), SO_PEERCRED. Raises OSError for a socket of another family.
    """
    pid, _, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(pid)
