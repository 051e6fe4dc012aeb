"""Messages between engine and keeper: JSON in SOCK_SEQPACKET packets, descriptors beside them (unix(7), SCM_RIGHTS)."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from typing import Any

PACKET_BYTES = 1 << 20
DESCRIPTORS = 8


def send(connection: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one message with `descriptors`; blocks or raises BlockingIOError as the socket is set."""
    data = json.dumps(message, separators=(",", ":")).encode()
    socket.send_fds(connection, [data], list(descriptors))


def receive(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Return the next message and its descriptors (close-on-exec); None when the peer is gone."""
    data, descriptors, _flags, _address = socket.recv_fds(
        connection, PACKET_BYTES, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
    )
    return (json.loads(data) if data else None), descriptors
