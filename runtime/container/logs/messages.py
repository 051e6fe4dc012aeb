"""What log drivers send for a line of output: syslog, GELF, Fluentd's forward protocol, journald's native one. Pure.

The fields are those of Docker's drivers (docs.docker.com, "Configure logging drivers").
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import struct
import time
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from runtime.container.logs.files import STDERR
from runtime.container.logs.remote import DATAGRAM, FLUENTD, GELF, JOURNALD, SYSLOG, Destination

LONGEST_LINE_BYTES = 16 << 10
"""What is longer is sent in parts, as with Docker's drivers."""
INFO, ERROR = 6, 3
"""Severities of syslog(3): of standard output, and of standard error."""
CHUNK_BYTES = 16
CHUNK_LENGTH = 24
"""Of a chunk's ID: so many random bytes, and as many characters of base64."""
_ACKNOWLEDGEMENT = re.compile(
    # a map of one member, in any of MessagePack's forms for strings and binaries of these lengths
    rb"\x81(?:\xa3|[\xd9\xc4]\x03)ack(?:\xb8|[\xd9\xc4]\x18|[\xda\xc5]\x00\x18)([A-Za-z0-9+/=]{24})"
)
GELF_CHUNK_BYTES, GELF_MOST_CHUNKS = 1408, 128
"""Payload of a UDP datagram, and how many one message may have (GELF, "Chunking")."""


class Part(NamedTuple):
    """Which part of a line it is."""

    id: str
    ordinal: int
    is_last: bool


class Line(NamedTuple):
    """A line of output without its newline, or a part of it."""

    time_ns: int
    stream: int
    data: bytes
    part: Part | None = None

    @property
    def severity(self) -> int:
        """Its severity."""
        return ERROR if self.stream == STDERR else INFO

    @property
    def text(self) -> str:
        """It as text; what is no UTF-8 is replaced."""
        return self.data.decode(errors="replace")


@dataclass(frozen=True)
class Subject:
    """The container that lines are of; `attributes` are the labels and variables that its LogConfig selects."""

    id: str
    name: str
    image_id: str
    image_name: str
    command: str
    created: str
    tag: str
    hostname: str
    attributes: Mapping[str, str] = field(default_factory=dict)


class LineSplitter:
    """Puts lines together from what each stream wrote."""

    def __init__(self) -> None:
        self._rests: dict[int, Line] = {}

    @property
    def is_empty(self) -> bool:
        """Whether no stream is in the middle of a line."""
        return not self._rests

    def feed(self, time_ns: int, stream: int, data: bytes) -> Iterator[Line]:
        """Yield the lines that `data` of a stream completes; a line has the time of its beginning."""
        line = self._rests.pop(stream, None) or Line(time_ns, stream, b"")
        *whole, last = (line.data + data).split(b"\n")
        for text in whole:
            yield from self._ended(line._replace(data=text), is_whole=True)
            line = Line(time_ns, stream, b"")
        line = yield from _shortened(line._replace(data=last))
        if line.data:
            self._rests[stream] = line

    def _ended(self, line: Line, *, is_whole: bool) -> Iterator[Line]:
        line = yield from _shortened(line)
        if line.part is not None or not is_whole:
            line = line._replace(part=(line.part or _first_part())._replace(is_last=is_whole))
        yield line

    def end(self) -> Iterator[Line]:
        """Yield what has no newline, once no more comes."""
        for line in self._rests.values():
            yield from self._ended(line, is_whole=False)
        self._rests.clear()


def _first_part() -> Part:
    return Part(secrets.token_hex(32), 1, False)


def _shortened(line: Line) -> Generator[Line, None, Line]:
    """Yield the parts of a line that is too long; return the rest, at most LONGEST_LINE_BYTES."""
    while len(line.data) > LONGEST_LINE_BYTES:
        part = line.part or _first_part()
        yield line._replace(data=line.data[:LONGEST_LINE_BYTES], part=part)
        line = line._replace(data=line.data[LONGEST_LINE_BYTES:], part=part._replace(ordinal=part.ordinal + 1))
    return line


Encode = Callable[[Line], list[bytes]]
"""Returns the datagrams of a line, or the bytes that a stream gets for it; [] where a driver sends none."""


def encoder(destination: Destination, subject: Subject) -> Encode:
    """Return what makes messages of lines."""
    makers: dict[str, Callable[[Destination, Subject], Encode]] = {
        SYSLOG: _syslog, GELF: _gelf, FLUENTD: _fluentd, JOURNALD: _journald,
    }  # fmt: skip
    return makers[destination.driver](destination, subject)


# --- syslog (RFC 3164, RFC 5424)


def _syslog(destination: Destination, subject: Subject) -> Encode:
    tag, pid, host = subject.tag, os.getpid(), subject.hostname

    def encode(line: Line) -> list[bytes]:
        priority = destination.facility << 3 | line.severity
        at = time.localtime(line.time_ns // 10**9)
        stamp = f"{time.strftime('%b', at)} {at.tm_mday:2} {time.strftime('%H:%M:%S', at)}"
        if destination.format.startswith("rfc5424"):
            micros = f".{line.time_ns % 10**9 // 1000:06}" if destination.format.endswith("micro") else ""
            head = (
                f"<{priority}>1 {time.strftime('%Y-%m-%dT%H:%M:%S', at)}{micros}{_zone(at)} {host} {tag} {pid} {tag} - "
            )
        elif destination.format:
            head = f"<{priority}>{stamp} {host} {tag}[{pid}]: "
        else:
            head = f"<{priority}>{stamp} {tag}[{pid}]: "
        message = head.encode() + line.data + b"\n"
        # RFC 5425, section 4.3: by TLS, the length stands before a message of RFC 5424
        is_counted = destination.tls is not None and destination.format.startswith("rfc5424")
        return [b"%d %b" % (len(message), message) if is_counted else message]

    return encode


def _zone(at: time.struct_time) -> str:
    minutes = (at.tm_gmtoff or 0) // 60
    return f"{'+' if minutes > 0 else '-'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}" if minutes else "Z"


# --- GELF 1.1 (go2docs.graylog.org, "GELF Format via UDP", "via TCP")


def _gelf(destination: Destination, subject: Subject) -> Encode:
    fields = {
        "command": subject.command,
        "container_id": subject.id,
        "container_name": subject.name,
        "created": subject.created,
        "image_id": subject.image_id,
        "image_name": subject.image_name,
        "tag": subject.tag,
        **subject.attributes,
    }
    extra = {f"_{name}": fields[name] for name in sorted(fields)}

    def encode(line: Line) -> list[bytes]:
        if not line.data:  # a message must not be empty
            return []
        document = {
            "version": "1.1",
            "host": subject.hostname,
            "short_message": line.text,
            "timestamp": line.time_ns // 10**6 / 1000,
            "level": line.severity,
            **extra,
        }
        body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
        if destination.kind != DATAGRAM:
            return [body + b"\0"]
        return list(_datagrams(_compressed(body, destination)))

    return encode


def _compressed(body: bytes, destination: Destination) -> bytes:
    if destination.compression == "none":
        return body
    window = 31 if destination.compression == "gzip" else 15  # zlib's manual, deflateInit2
    packer = zlib.compressobj(destination.level, zlib.DEFLATED, window)
    return packer.compress(body) + packer.flush()


def _datagrams(body: bytes) -> Iterator[bytes]:
    if len(body) <= GELF_CHUNK_BYTES:
        yield body
        return
    pieces = [body[at : at + GELF_CHUNK_BYTES] for at in range(0, len(body), GELF_CHUNK_BYTES)]
    id = secrets.token_bytes(8)
    if len(pieces) <= GELF_MOST_CHUNKS:
        for number, piece in enumerate(pieces):
            yield b"\x1e\x0f" + id + bytes((number, len(pieces))) + piece


# --- Fluentd (Forward Protocol Specification v1, "Message Modes")


def _fluentd(destination: Destination, subject: Subject) -> Encode:
    record = {"container_id": subject.id, "container_name": f"/{subject.name}"}

    def encode(line: Line) -> list[bytes]:
        document: dict[str, Any] = {
            **record,
            "source": "stderr" if line.stream == STDERR else "stdout",
            "log": line.data,
            **subject.attributes,
        }
        if line.part is not None:
            document |= {
                "partial_message": "true",
                "partial_id": line.part.id,
                "partial_ordinal": str(line.part.ordinal),
                "partial_last": "true" if line.part.is_last else "false",
            }
        seconds, nanoseconds = divmod(line.time_ns, 10**9)
        if destination.has_nanoseconds:
            stamp = struct.pack(">BBII", 0xD7, 0, seconds, nanoseconds)  # EventTime
        else:
            stamp = struct.pack(">BI", 0xCE, seconds)
        options = {"chunk": base64.b64encode(secrets.token_bytes(CHUNK_BYTES))} if destination.confirms else {}
        return [b"\x94" + _packed(subject.tag) + stamp + _packed(document) + _packed(options)]

    return encode


def chunk_of(message: bytes) -> bytes:
    """Return what a message is confirmed by: the ID that is its last member."""
    return message[-CHUNK_LENGTH:]


def acknowledged(received: bytes) -> set[bytes]:
    """Return the chunks that the answers in `received` confirm (Forward Protocol Specification v1, "Response")."""
    return set(_ACKNOWLEDGEMENT.findall(received))


def _packed(value: str | bytes | Mapping[str, Any]) -> bytes:
    """Return a value in MessagePack (its specification, "str format family", "map format family")."""
    if isinstance(value, Mapping):
        head = bytes((0x80 | len(value),)) if len(value) < 16 else struct.pack(">BH", 0xDE, len(value))
        return head + b"".join(_packed(name) + _packed(one) for name, one in value.items())
    data = value.encode(errors="replace") if isinstance(value, str) else value
    if len(data) < 32:
        return bytes((0xA0 | len(data),)) + data
    if len(data) < 256:
        return struct.pack(">BB", 0xD9, len(data)) + data
    return struct.pack(">BH" if len(data) < 1 << 16 else ">BI", 0xDA if len(data) < 1 << 16 else 0xDB, len(data)) + data


# --- journald (systemd.io, "Native Journal Protocol")


def _journald(_: Destination, subject: Subject) -> Encode:
    fields = {
        "CONTAINER_ID": subject.id[:12],
        "CONTAINER_ID_FULL": subject.id,
        "CONTAINER_NAME": subject.name,
        "CONTAINER_TAG": subject.tag,
        "SYSLOG_IDENTIFIER": subject.tag,
        "IMAGE_NAME": subject.image_name,
        "CONTAINER_LOG_EPOCH": secrets.token_hex(32),
    }
    fields |= {_variable(name): value for name, value in subject.attributes.items()}
    fixed = b"".join(_entry(name, value.encode(errors="replace")) for name, value in fields.items())
    ordinal = 0

    def encode(line: Line) -> list[bytes]:
        nonlocal ordinal
        ordinal += 1
        seconds, nanoseconds = divmod(line.time_ns, 10**9)
        stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09}Z"
        more = {"SYSLOG_TIMESTAMP": stamp, "CONTAINER_LOG_ORDINAL": str(ordinal)}
        if line.part is not None:
            more |= {
                "CONTAINER_PARTIAL_ID": line.part.id,
                "CONTAINER_PARTIAL_ORDINAL": str(line.part.ordinal),
                "CONTAINER_PARTIAL_LAST": "true" if line.part.is_last else "false",
            } | ({} if line.part.is_last else {"CONTAINER_PARTIAL_MESSAGE": "true"})
        head = _entry("PRIORITY", str(line.severity).encode()) + _entry("MESSAGE", line.data)
        return [head + fixed + b"".join(_entry(name, value.encode()) for name, value in more.items())]

    return encode


def _variable(name: str) -> str:
    """Return the name of a journal field for a label: upper case letters, digits and _, none of the last in front."""
    return re.sub(r"[^A-Z0-9]", "_", name.upper()).lstrip("_")


def _entry(name: str, value: bytes) -> bytes:
    if b"\n" in value:
        return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
    return name.encode() + b"=" + value + b"\n"
