"""Messages between engine and keeper: marshalled values in SOCK_SEQPACKET packets, descriptors beside them (unix(7)).

marshal, in its version 2, which no release of Python changes any more: `json` would cost the keeper a megabyte of
modules. Both ends belong to one user and trust each other.
"""

from __future__ import annotations

import array
import marshal
import socket
from collections.abc import Sequence

from runtime.hints import Any

PACKET_BYTES = 1 << 18
DESCRIPTORS = 8
MARSHAL_VERSION = 2


def pack(value: Any) -> bytes:
    """Return a value of None, booleans, numbers, strings, bytes, lists, tuples and dicts of these as bytes."""
    return marshal.dumps(value, MARSHAL_VERSION)


def unpack(data: bytes) -> Any:
    """Return the value that `pack` was given. Raises ValueError, EOFError or TypeError on anything else."""
    return marshal.loads(data)


def send(connection: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one message with `descriptors`; blocks or raises BlockingIOError as the socket is set."""
    socket.send_fds(connection, [pack(message)], list(descriptors))


def receive(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Return the next message and its descriptors (close-on-exec); None when the peer is gone."""
    data, descriptors = receive_descriptors(connection, PACKET_BYTES, DESCRIPTORS)
    return (unpack(data) if data else None), descriptors


def receive_descriptors(connection: socket.socket, size: int, count: int, flags: int = 0) -> tuple[bytes, list[int]]:
    """Return the next packet, of at most `size` bytes, and at most `count` descriptors, closed on exec."""
    numbers = array.array("i")
    # socket.recv_fds takes flags and drops them
    data, ancillary, _, _ = connection.recvmsg(
        size, socket.CMSG_SPACE(count * numbers.itemsize), flags | socket.MSG_CMSG_CLOEXEC
    )
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
    return data, list(numbers)
