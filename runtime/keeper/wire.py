"""Messages between engine and keeper: packed values in SOCK_SEQPACKET packets, with SCM_RIGHTS descriptors (unix(7)).

The format is version 2 of Python's marshal, which no release changes: `json` would cost the keeper a megabyte of
modules. Messages are unpacked by the code below, since marshal.loads may crash on malformed input, and every container
depends on the keeper.
"""

from __future__ import annotations

import array
import marshal
import os
import socket
import struct
from collections.abc import Sequence

from runtime.hints import Any

PACKET_BYTES = 1 << 18
DESCRIPTORS = 8
MARSHAL_VERSION = 2
DEPTH = 32
LONG_DIGIT_BITS = 15
CONSTANTS = {b"N"[0]: None, b"T"[0]: True, b"F"[0]: False}
INTEGER, LONG, FLOAT, BYTES, TEXT, TUPLE, LIST, MAPPING, END = b"ilgsu([{0"


class MalformedError(ValueError):
    """The bytes are not a message."""


def pack(value: Any) -> bytes:
    """Return bytes for None, booleans, numbers, strings, bytes, and lists, tuples and dicts of these."""
    return marshal.dumps(value, MARSHAL_VERSION)


def unpack(data: bytes) -> Any:
    """Return the value that `pack` was given. Raises MalformedError on anything else."""
    try:
        value, at = _value(data, 0, DEPTH)
    except (IndexError, struct.error, UnicodeDecodeError, TypeError) as error:
        raise MalformedError(str(error)) from error
    if at != len(data):
        raise MalformedError("more than one value")
    return value


def _value(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """Return (the value that begins at offset `at`, the offset of its end)."""
    kind = data[at]
    at += 1
    if kind in CONSTANTS:
        return CONSTANTS[kind], at
    if kind == FLOAT:
        return struct.unpack_from("<d", data, at)[0], at + 8
    if not depth:
        raise MalformedError("nested too deeply")
    if kind == MAPPING:
        return _mapping(data, at, depth - 1)
    (count,) = struct.unpack_from("<i", data, at)
    at += 4
    if kind == INTEGER:
        return count, at
    if kind == LONG:
        return _long(data, at, count)
    if not 0 <= count <= len(data) - at:
        raise MalformedError("a length beyond the end")
    if kind == BYTES:
        return data[at : at + count], at + count
    if kind == TEXT:
        return str(data[at : at + count], "utf-8", "surrogatepass"), at + count
    if kind not in (TUPLE, LIST):
        raise MalformedError(f"no kind of value: {kind}")
    items = []
    for _ in range(count):
        item, at = _value(data, at, depth - 1)
        items.append(item)
    return (tuple(items) if kind == TUPLE else items), at


def _mapping(data: bytes, at: int, depth: int) -> tuple[dict[Any, Any], int]:
    found: dict[Any, Any] = {}
    while data[at] != END:
        key, at = _value(data, at, depth)
        found[key], at = _value(data, at, depth)
    return found, at + 1


def _long(data: bytes, at: int, count: int) -> tuple[int, int]:
    """Return an integer of `count` digits of 15 bits each; a negative count makes it negative."""
    if abs(count) > len(data):
        raise MalformedError("a length beyond the end")
    value = 0
    for digit in reversed(struct.unpack_from(f"<{abs(count)}H", data, at)):
        value = value << LONG_DIGIT_BITS | digit
    return (value if count >= 0 else -value), at + 2 * abs(count)


def send(connection: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one message with `descriptors`. Raises BlockingIOError if the socket is non-blocking and full."""
    socket.send_fds(connection, [pack(message)], list(descriptors))


def receive(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Return the next message and its descriptors (close-on-exec); the message is None at the end of the connection.

    Raises MalformedError, after closing the descriptors, if the packet is not a message.
    """
    data, descriptors = receive_descriptors(connection, PACKET_BYTES, DESCRIPTORS)
    if not data and not descriptors:
        return None, []
    try:
        message = unpack(data)
        if not isinstance(message, dict):
            raise MalformedError("a message is a dict")
    except MalformedError:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return message, descriptors


def receive_descriptors(connection: socket.socket, size: int, count: int, flags: int = 0) -> tuple[bytes, list[int]]:
    """Return the next packet, of at most `size` bytes, and at most `count` descriptors (close-on-exec)."""
    numbers = array.array("i")
    # not socket.recv_fds: it ignores its flags argument
    data, ancillary, _, _ = connection.recvmsg(
        size, socket.CMSG_SPACE(count * numbers.itemsize), flags | socket.MSG_CMSG_CLOEXEC
    )
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
    return data, list(numbers)
