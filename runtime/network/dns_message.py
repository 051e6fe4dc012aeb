"""DNS messages, as far as a small resolver needs them (RFC 1035). Pure."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass

TYPE_A, TYPE_PTR, TYPE_AAAA, TYPE_ANY = 1, 12, 28, 255
NOERROR, FORMERR, SERVFAIL, NXDOMAIN = 0, 1, 2, 3
TTL_S = 600

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class MessageError(ValueError):
    """The bytes are no DNS query."""


@dataclass(frozen=True)
class Query:
    """The one question of a message; `name` is lower-case, without the last dot."""

    id: int
    flags: int
    name: str
    type: int
    question: bytes


def parse_query(data: bytes) -> Query:
    """Return the question that `data` asks. Raises MessageError."""
    if len(data) < 12:
        raise MessageError("shorter than a header")
    id, flags, questions = struct.unpack_from("!HHH", data)
    if flags & 0x8000 or questions != 1:
        raise MessageError("not a query of one question")
    labels, offset = [], 12
    while True:
        if offset >= len(data):
            raise MessageError("the name has no end")
        length = data[offset]
        offset += 1
        if length == 0:
            break
        if length > 63 or offset + length > len(data):
            raise MessageError("a label is too long")
        labels.append(data[offset : offset + length].decode("ascii", "replace").lower())
        offset += length
    if offset + 4 > len(data):
        raise MessageError("the question has no type")
    (kind,) = struct.unpack_from("!H", data, offset)
    return Query(id, flags, ".".join(labels), kind, data[12 : offset + 4])


def respond(query: Query, code: int, answers: Sequence[Address | str] = ()) -> bytes:
    """Return the answer to `query`: addresses as A or AAAA records, names as PTR records."""
    flags = 0x8080 | (query.flags & 0x7900) | code
    out = struct.pack("!HHHHHH", query.id, flags, 1, len(answers), 0, 0) + query.question
    for answer in answers:
        if isinstance(answer, str):
            kind, data = TYPE_PTR, encode_name(answer)
        else:
            kind, data = (TYPE_A if answer.version == 4 else TYPE_AAAA), answer.packed
        out += struct.pack("!HHHIH", 0xC00C, kind, 1, TTL_S, len(data)) + data
    return out


def encode_name(name: str) -> bytes:
    """Return `name` as labels."""
    return b"".join(bytes([len(label)]) + label for label in name.encode("ascii", "replace").split(b".")) + b"\0"


def reverse_address(name: str) -> Address | None:
    """Return the address that a PTR question's `name` asks about, or None."""
    labels = name.split(".")
    try:
        if name.endswith(".in-addr.arpa"):
            return ipaddress.IPv4Address(".".join(reversed(labels[:-2])))
        if name.endswith(".ip6.arpa"):
            return ipaddress.IPv6Address(int("".join(reversed(labels[:-2])), 16))
    except ValueError:
        return None
    return None
