"""Netfilter netlink: single requests, dumps, and batches, which are atomic transactions.

Messages are those of the kernel's include/uapi/linux/netfilter/nfnetlink.h; numbers in their attributes are big-endian.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runtime.errors import KernelError

NETLINK_NETFILTER = 12
NFNL_SUBSYS_NFTABLES, NFNL_SUBSYS_CTNETLINK = 10, 1
NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END = 0x10, 0x11
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLA_F_NESTED = 0x8000
RECEIVE_BYTES = 1 << 17


@dataclass(frozen=True)
class Message:
    """A message: `kind` is (subsystem << 8 | type), `attributes` are encoded, `what` describes it in errors."""

    kind: int
    family: int
    attributes: bytes
    flags: int = 0
    what: str = ""

    def encode(self, sequence: int, flags: int = 0, resource: int = 0) -> bytes:
        """Encode the message: nlmsghdr, nfgenmsg, attributes."""
        body = struct.pack("=BB", self.family, 0) + struct.pack("!H", resource) + self.attributes
        return struct.pack("=IHHII", 16 + len(body), self.kind, NLM_F_REQUEST | self.flags | flags, sequence, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    """Encode an attribute."""
    return struct.pack("=HH", len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Encode an attribute with nested attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def number(kind: int, value: int) -> bytes:
    """Encode an attribute with a 32-bit number; a negative one in two's complement."""
    return attribute(kind, struct.pack("!I", value & 0xFFFFFFFF))


def text(kind: int, value: str) -> bytes:
    """Encode an attribute with a string."""
    return attribute(kind, value.encode() + b"\0")


def attributes_of(data: bytes) -> dict[int, bytes]:
    """Parse attributes; return their values by type."""
    return dict(_attributes(data))


def list_of(data: bytes) -> list[dict[int, bytes]]:
    """Parse an attribute that is a list; return the attributes of each member."""
    return [attributes_of(member) for _, member in _attributes(data)]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


class Nfnetlink:
    """A netfilter netlink socket of the network namespace in which it was created."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def batch(self, messages: Sequence[Message]) -> None:
        """Execute `messages` as one transaction. Raises KernelError for the first message that is rejected."""
        first = self._sequence + 1
        self._sequence += len(messages) + 2
        out = [Message(NFNL_MSG_BATCH_BEGIN, 0, b"").encode(first, resource=NFNL_SUBSYS_NFTABLES)]
        for position, message in enumerate(messages, 1):
            # only the last message requests an acknowledgement; failures are always reported
            out.append(message.encode(first + position, NLM_F_ACK if position == len(messages) else 0))
        out.append(Message(NFNL_MSG_BATCH_END, 0, b"").encode(self._sequence, resource=NFNL_SUBSYS_NFTABLES))
        self._socket.send(b"".join(out))
        # the batch is executed, and its results are queued, before send(2) returns
        refused: tuple[int, int] | None = None
        done = False
        for sequence, kind, payload in self._answers():
            if sequence < first or kind != NLMSG_ERROR:
                continue
            (code,) = struct.unpack_from("=i", payload)
            if code:
                refused = refused or (sequence, -code)
            done = True
        if refused is not None:
            sequence, code = refused
            what = messages[sequence - first - 1].what if first < sequence < self._sequence else "batch"
            raise KernelError("nfnetlink", (what,), code, "see `skiff doctor`")
        if not done:
            raise KernelError("nfnetlink", ("batch without an answer",), errno.EIO)

    def _answers(self) -> Iterator[tuple[int, int, bytes]]:
        while True:
            try:
                data = self._socket.recv(RECEIVE_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            yield from _messages(data)

    def request(self, message: Message) -> None:
        """Execute one message. Raises KernelError."""
        self._sequence += 1
        self._socket.send(message.encode(self._sequence, NLM_F_ACK))
        for _, kind, payload in _messages(self._socket.recv(RECEIVE_BYTES)):
            if kind == NLMSG_ERROR and (code := struct.unpack_from("=i", payload)[0]):
                raise KernelError("nfnetlink", (message.what,), -code)

    def dump(self, message: Message) -> Iterator[bytes]:
        """Yield the attributes of every object of the dump that `message` requests. Raises KernelError."""
        self._sequence += 1
        self._socket.send(message.encode(self._sequence, NLM_F_DUMP))
        while True:
            for _, kind, payload in _messages(self._socket.recv(RECEIVE_BYTES)):
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    raise KernelError("nfnetlink", (message.what,), -struct.unpack_from("=i", payload)[0])
                yield payload[4:]


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield sequence number, type and payload of each message."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind, _flags, sequence, _port = struct.unpack_from("=IHHII", data, offset)
        if length < 16:
            raise KernelError("nfnetlink", ("a message shorter than its header",), 5, os.strerror(5))
        yield sequence, kind, data[offset + 16 : offset + length]
        offset += (length + 3) & ~3
