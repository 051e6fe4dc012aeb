"""Parses and builds DNS messages, as far as a small resolver needs it (RFC 1035). Pure."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass

TYPE_A, TYPE_PTR, TYPE_MX, TYPE_AAAA = 1, 12, 15, 28
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, REFUSED = 0, 1, 2, 3, 5
TYPE_OPT = 41
HEADER_BYTES = 12
TRUNCATED = 0x0200
TTL_S = 600
SMALLEST_UDP_BYTES, LARGEST_UDP_BYTES = 512, 4096

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class MessageError(ValueError):
    """The bytes are not a DNS query."""


@dataclass(frozen=True)
class Query:
    """The question of a message; `name` is lower-case, without the trailing dot.

    `udp_bytes` is the maximum size of a response datagram; `has_options`: whether the query has an OPT record (RFC 6891).
    """

    id: int
    flags: int
    name: str
    type: int
    question: bytes
    udp_bytes: int = SMALLEST_UDP_BYTES
    has_options: bool = False


def parse_query(data: bytes) -> Query:
    """Parse a query. Raises MessageError."""
    if len(data) < HEADER_BYTES:
        raise MessageError("shorter than a header")
    id, flags, questions, _, _, additional = struct.unpack_from("!HHHHHH", data)
    if flags & 0x8000 or questions != 1:
        raise MessageError("not a query with one question")
    labels, offset = [], HEADER_BYTES
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
    question, offset = data[HEADER_BYTES : offset + 4], offset + 4
    udp_bytes, has_options = SMALLEST_UDP_BYTES, False
    if additional and len(data) >= offset + 11 and data[offset : offset + 3] == struct.pack("!BH", 0, TYPE_OPT):
        (udp_bytes,), has_options = struct.unpack_from("!H", data, offset + 3), True
    udp_bytes = min(max(udp_bytes, SMALLEST_UDP_BYTES), LARGEST_UDP_BYTES)
    return Query(id, flags, ".".join(labels), kind, question, udp_bytes, has_options)


def response_code(answer: bytes) -> int:
    """Return the RCODE of a message that is at least a header (RFC 1035, section 4.1.1)."""
    return answer[3] & 15


def respond(query: Query, code: int, answers: Sequence[Address | str] = (), limit_bytes: int = 65535) -> bytes:
    """Return the response to `query`: addresses as A or AAAA records, names as PTR records.

    Records beyond `limit_bytes` are omitted, and the TC flag is set, so that the client asks again over TCP.
    """
    options = struct.pack("!BHHIH", 0, TYPE_OPT, LARGEST_UDP_BYTES, 0, 0) if query.has_options else b""
    room = limit_bytes - HEADER_BYTES - len(query.question) - len(options)
    records = [_record(answer) for answer in answers]
    flags = 0x8080 | (query.flags & 0x7900) | code
    while sum(map(len, records)) > room:
        flags |= TRUNCATED
        records.pop()
    head = struct.pack("!HHHHHH", query.id, flags, 1, len(records), 0, int(query.has_options))
    return head + query.question + b"".join(records) + options


def _record(answer: Address | str) -> bytes:
    if isinstance(answer, str):
        kind, data = TYPE_PTR, encode_name(answer)
    else:
        kind, data = (TYPE_A if answer.version == 4 else TYPE_AAAA), answer.packed
    return struct.pack("!HHHIH", 0xC00C, kind, 1, TTL_S, len(data)) + data


def encode_name(name: str) -> bytes:
    """Encode `name` as labels."""
    return b"".join(bytes([len(label)]) + label for label in name.encode("ascii", "replace").split(b".")) + b"\0"


def reverse_address(name: str) -> Address | None:
    """Return the address in the `name` of a PTR question, None if it has none."""
    labels = name.split(".")
    try:
        if name.endswith(".in-addr.arpa"):
            return ipaddress.IPv4Address(".".join(reversed(labels[:-2])))
        if name.endswith(".ip6.arpa"):
            return ipaddress.IPv6Address(int("".join(reversed(labels[:-2])), 16))
    except ValueError:
        return None
    return None
