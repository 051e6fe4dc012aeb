"""Netfilter's netlink: single requests, dumps, and batches that are carried out whole or not at all.

Messages are those of the kernel's include/uapi/linux/netfilter/nfnetlink.h; numbers in their attributes are big-endian.
"""

from __future__ import annotations

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
    """One netfilter message: `kind` is (subsystem << 8 | type), `attributes` their encoding, `what` it is for errors."""

    kind: int
    family: int
    attributes: bytes
    flags: int = 0
    what: str = ""

    def encode(self, sequence: int, flags: int = 0, resource: int = 0) -> bytes:
        """Return its bytes: nlmsghdr, nfgenmsg, attributes."""
        body = struct.pack("=BB", self.family, 0) + struct.pack("!H", resource) + self.attributes
        return struct.pack("=IHHII", 16 + len(body), self.kind, NLM_F_REQUEST | self.flags | flags, sequence, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute."""
    return struct.pack("=HH", len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that holds others."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def number(kind: int, value: int) -> bytes:
    """Return an attribute with a 32-bit number; a negative one in two's complement."""
    return attribute(kind, struct.pack("!I", value & 0xFFFFFFFF))


def text(kind: int, value: str) -> bytes:
    """Return an attribute with a string."""
    return attribute(kind, value.encode() + b"\0")


def attributes_of(data: bytes) -> dict[int, bytes]:
    """Return the attributes that `data` is made of, by kind."""
    return dict(_attributes(data))


def list_of(data: bytes) -> list[dict[int, bytes]]:
    """Return the members of an attribute that is a list: the attributes of each."""
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
    """A netfilter socket of the network namespace in which it was made."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def batch(self, messages: Sequence[Message]) -> None:
        """Carry out `messages` as one transaction: all of them or none. Raises KernelError about the first refused."""
        first = self._sequence + 1
        self._sequence += len(messages) + 2
        out = [Message(NFNL_MSG_BATCH_BEGIN, 0, b"").encode(first, resource=NFNL_SUBSYS_NFTABLES)]
        for position, message in enumerate(messages, 1):
            # the kernel tells of every failure unasked; the last message's receipt tells that the rest is done
            out.append(message.encode(first + position, NLM_F_ACK if position == len(messages) else 0))
        out.append(Message(NFNL_MSG_BATCH_END, 0, b"").encode(self._sequence, resource=NFNL_SUBSYS_NFTABLES))
        self._socket.send(b"".join(out))
        # what became of a batch is known, and told, before send(2) returns
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
            raise KernelError("nfnetlink", ("batch without an answer",), 5)

    def _answers(self) -> Iterator[tuple[int, int, bytes]]:
        while True:
            try:
                data = self._socket.recv(RECEIVE_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            yield from _messages(data)

    def request(self, message: Message) -> None:
        """Carry out one message. Raises KernelError."""
        self._sequence += 1
        self._socket.send(message.encode(self._sequence, NLM_F_ACK))
        for _, kind, payload in _messages(self._socket.recv(RECEIVE_BYTES)):
            if kind == NLMSG_ERROR and (code := struct.unpack_from("=i", payload)[0]):
                raise KernelError("nfnetlink", (message.what,), -code)

    def dump(self, message: Message) -> Iterator[bytes]:
        """Yield the attributes of every object that `message` asks for. Raises KernelError."""
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
    """Yield sequence number, kind and payload of each message."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind, _flags, sequence, _port = struct.unpack_from("=IHHII", data, offset)
        if length < 16:
            raise KernelError("nfnetlink", ("a message shorter than its header",), 5, os.strerror(5))
        yield sequence, kind, data[offset + 16 : offset + length]
        offset += (length + 3) & ~3
