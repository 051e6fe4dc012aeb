"""Parser for heads and bodies of HTTP/1.1 messages (RFC 9112), and for multiplexed streams. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

LONGEST_HEAD = 256 << 10
LONGEST_NUMBER = 18
LONGEST_CHUNK_LINE = 1024
_HEXADECIMAL = frozenset(b"0123456789abcdefABCDEF")


class ProtocolError(ValueError):
    """The bytes are not a valid HTTP/1.1 message; a server responds with `status`."""

    status = 400


class TooLargeError(ProtocolError):
    """The head exceeds the maximum length."""

    status = 431


@dataclass(frozen=True)
class Head:
    """A message's start line in its three parts (of a request or a response), and its headers with lower-case names."""

    first: str
    second: str
    third: str
    headers: Mapping[str, str]

    @property
    def status(self) -> int:
        """The status of a response."""
        return int(self.second)

    @property
    def is_chunked(self) -> bool:
        """Whether the body has the chunked transfer coding."""
        return "chunked" in self.headers.get("transfer-encoding", "").lower()

    @property
    def content_length(self) -> int | None:
        """The body's length in bytes, if there is a Content-Length. Raises ProtocolError for an invalid one."""
        text = self.headers.get("content-length")
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER):
            raise ProtocolError(f"the content length {text!r} is not a number")
        return int(text)

    @property
    def wants_upgrade(self) -> bool:
        """Whether the message requests or accepts an upgrade to another protocol."""
        return "upgrade" in self.headers.get("connection", "").lower()


def split_head(data: bytes | bytearray) -> tuple[Head, int] | None:
    """Parse the head at the beginning of `data`; return it and its length, or None if it is incomplete.

    Raises ProtocolError.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > LONGEST_HEAD:
            raise TooLargeError("the head of the message is too long")
        return None
    if end > LONGEST_HEAD:
        raise TooLargeError("the head of the message is too long")
    lines = bytes(data[:end]).decode("latin-1").split("\r\n")
    parts = lines[0].split(" ", 2)
    if len(parts) < 2:
        raise ProtocolError(f"the first line {lines[0]!r} is not HTTP")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise ProtocolError(f"the header {line!r} has no colon")
        key, text = name.lower(), value.strip()
        if not key or key != key.strip():  # RFC 9112, section 5.1: no whitespace between a field's name and the colon
            raise ProtocolError(f"the header {line!r} has no name")
        if key == "content-length" and headers.get(key, text) != text:
            raise ProtocolError("the message has two lengths")
        # repeated fields are combined to a list (RFC 9110, section 5.3); repeated equal lengths count once
        headers[key] = f"{headers[key]}, {text}" if key in headers and key != "content-length" else text
    return Head(parts[0], parts[1], parts[2] if len(parts) > 2 else "", headers), end + 4


class Body:
    """An incremental decoder of a body: by its length, in chunks, or until the connection is closed."""

    def __init__(self, head: Head, *, until_close: bool = False) -> None:
        self._chunked = head.is_chunked
        self._left = head.content_length if not self._chunked else None
        self._until_close = until_close and not self._chunked and self._left is None
        self._buffer = bytearray()
        self._chunk_left = 0
        self._ends_chunk = False
        self.is_complete = not self._chunked and not self._until_close and not self._left

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the payload in `data`. Raises ProtocolError. The start of the next message is in `rest()`."""
        if self._until_close:
            if data:
                yield data
            return
        self._buffer += data
        if not self._chunked:
            if self._left and self._buffer:
                piece = bytes(self._buffer[: self._left])
                del self._buffer[: self._left]
                self._left -= len(piece)
                yield piece
            self.is_complete = not self._left
            return
        yield from self._chunks()

    def _chunks(self) -> Iterator[bytes]:
        while not self.is_complete:
            if self._chunk_left:
                if not self._buffer:
                    return
                piece = bytes(self._buffer[: self._chunk_left])
                del self._buffer[: self._chunk_left]
                self._chunk_left -= len(piece)
                self._ends_chunk = not self._chunk_left
                yield piece
                continue
            if self._ends_chunk:
                if len(self._buffer) < 2:
                    return
                if self._buffer[:2] != b"\r\n":
                    raise ProtocolError("a chunk is longer than its size")
                del self._buffer[:2]
                self._ends_chunk = False
            end = self._buffer.find(b"\r\n")
            if end < 0:
                if len(self._buffer) > LONGEST_CHUNK_LINE:
                    raise ProtocolError("a chunk has no size")
                return
            text = bytes(self._buffer[:end]).split(b";")[0].strip()
            if not text or len(text) > LONGEST_NUMBER or set(text) - _HEXADECIMAL:
                raise ProtocolError(f"the chunk size {text!r} is not a number")
            size = int(text, 16)
            if size == 0:
                if not self._skip_trailers(end + 2):
                    return
                self.is_complete = True
                return
            del self._buffer[: end + 2]
            self._chunk_left = size

    def _skip_trailers(self, start: int) -> bool:
        """Drop the trailer fields after the last chunk; return whether they are complete."""
        position = start
        while (finish := self._buffer.find(b"\r\n", position)) != position:
            if finish < 0:
                if len(self._buffer) > LONGEST_HEAD:
                    raise TooLargeError("the trailer of the message is too long")
                return False
            position = finish + 2
        del self._buffer[: position + 2]
        return True

    @property
    def left(self) -> int | None:
        """How many bytes are missing, if the head has the length."""
        return self._left

    def rest(self) -> bytes:
        """Return the bytes after the body."""
        return bytes(self._buffer)


def chunk(data: bytes) -> bytes:
    """Return `data` as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def frame_header(stream: int, size: int) -> bytes:
    """Return the header of a multiplexed output frame (Docker Engine API, "Attach", stream format)."""
    return bytes((stream, 0, 0, 0)) + size.to_bytes(4, "big")


class StreamFrames:
    """An incremental decoder of a multiplexed stream (Docker Engine API, "Attach", stream format)."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._stream = 0
        self._left = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield (stream number, payload); the payload of a frame may be split."""
        self._buffer += data
        position, size = 0, len(self._buffer)
        view = memoryview(self._buffer)
        try:
            while True:
                if self._left:
                    if position >= size:
                        break
                    end = min(position + self._left, size)
                    piece = bytes(view[position:end])
                    self._left -= end - position
                    position = end
                    yield self._stream, piece
                else:
                    if size - position < 8:
                        break
                    self._stream = view[position]
                    self._left = int.from_bytes(view[position + 4 : position + 8], "big")
                    position += 8
        finally:
            view.release()
            del self._buffer[:position]
