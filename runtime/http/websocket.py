"""The server's side of WebSocket (RFC 6455). Pure: bytes in, messages out."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runtime.http.codec import ProtocolError

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
LONGEST_PAYLOAD = 16 << 20
LONGEST_CONTROL = 125
_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def answer_to(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the response headers to a client's handshake. Raises ProtocolError if it is not a valid handshake."""
    key = headers.get("sec-websocket-key", "")
    if headers.get("upgrade", "").lower() != "websocket" or not key:
        raise ProtocolError("not a WebSocket handshake: Upgrade and Sec-WebSocket-Key are missing")
    if headers.get("sec-websocket-version") != "13":
        raise ProtocolError("unsupported WebSocket version: only 13 is supported")
    accepted = base64.b64encode(hashlib.sha1((key + _MAGIC).encode()).digest()).decode()
    return {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accepted}


def frame(opcode: int, payload: bytes) -> bytes:
    """Return an unmasked, final frame."""
    length = len(payload)
    if length <= LONGEST_CONTROL:
        head = struct.pack("!BB", 0x80 | opcode, length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", 0x80 | opcode, 126, length)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 127, length)
    return head + payload


@dataclass(frozen=True)
class Frame:
    """A frame from a client: its opcode, and its unmasked payload."""

    opcode: int
    payload: bytes


class FrameParser:
    """An incremental parser of a client's frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Add `data`; yield the frames that are complete now. Raises ProtocolError."""
        self._buffer += data
        while (found := self._next()) is not None:
            yield found

    def _next(self) -> Frame | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        opcode, length, at = buffer[0] & 0x0F, buffer[1] & 0x7F, 2
        if buffer[0] & 0x70 or not buffer[1] & 0x80:
            raise ProtocolError("a WebSocket frame has reserved bits set, or no mask")
        if opcode & 0x8 and (length > LONGEST_CONTROL or not buffer[0] & 0x80):
            raise ProtocolError("a WebSocket control frame is too long or fragmented")
        if length > LONGEST_CONTROL:
            form = "!H" if length == 126 else "!Q"
            at += struct.calcsize(form)
            if len(buffer) < at:
                return None
            (length,) = struct.unpack(form, buffer[2:at])
        if length > LONGEST_PAYLOAD:
            raise ProtocolError("a WebSocket frame is too long")
        if len(buffer) < at + 4 + length:
            return None
        mask, payload = bytes(buffer[at : at + 4]), bytes(buffer[at + 4 : at + 4 + length])
        del buffer[: at + 4 + length]
        return Frame(opcode, unmasked(payload, mask))


def unmasked(payload: bytes, mask: bytes) -> bytes:
    """Apply or remove a client's mask of four bytes (RFC 6455, section 5.3)."""
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    number = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return number.to_bytes(len(payload), "big")
