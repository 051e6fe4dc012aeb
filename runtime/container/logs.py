"""A container's output on disk: every byte once, whatever happens to the engine.

`log.data` holds the bytes of all streams as they came. `log.index` holds one record a chunk: time, stream and the offset
at which the chunk begins; it ends where the next one begins, or at the end of the data. The record is written before
`splice(2)` moves the chunk from pipe to file in one call, so that an engine killed at any point leaves either bytes in
the pipe (which the keeper keeps open) or bytes in the file that a record names already.
"""

from __future__ import annotations

import ctypes
import os
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import KernelError

STDIN, STDOUT, STDERR = 0, 1, 2
"""Stream numbers as the Docker Engine API frames them; a terminal's output is STDIN's 0: it is not framed."""
CHUNK_BYTES = 1 << 20
SPLICE_F_MOVE, SPLICE_F_NONBLOCK = 1, 2

_RECORD = struct.Struct("<QQQ")
_libc = ctypes.CDLL(None, use_errno=True)
_libc.splice.restype = ctypes.c_ssize_t


@dataclass(frozen=True)
class Chunk:
    """Output of one stream from `start` to `end` (bytes of log.data) that came at `time_ns`."""

    time_ns: int
    stream: int
    start: int
    end: int


class LogWriter:
    """The engine's end of the log: takes what the pipes give."""

    def __init__(self, directory: Path) -> None:
        flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC
        self._data = os.open(directory / "log.data", flags, 0o640)
        self._index = os.open(directory / "log.index", flags | os.O_APPEND, 0o640)
        self.end = os.fstat(self._data).st_size
        # a record that was cut short by a crash of the machine is no record
        os.ftruncate(self._index, os.fstat(self._index).st_size // _RECORD.size * _RECORD.size)

    def take(self, pipe: int, stream: int) -> int:
        """Move what `pipe` holds into the log; return the bytes, 0 at the end of the pipe.

        Raises BlockingIOError when there is nothing now.
        """
        os.write(self._index, _RECORD.pack(time.time_ns(), stream, self.end))
        offset = ctypes.c_longlong(self.end)
        moved: int = _libc.splice(
            pipe,
            None,
            self._data,
            ctypes.byref(offset),
            ctypes.c_size_t(CHUNK_BYTES),
            SPLICE_F_MOVE | SPLICE_F_NONBLOCK,
        )
        if moved < 0:
            number = ctypes.get_errno()
            if number == 11:
                raise BlockingIOError(number, "the pipe is empty")
            raise KernelError("splice", (pipe, self._data), number, "is the disk full?" if number == 28 else None)
        self.end += moved
        return moved

    def append(self, data: bytes, stream: int) -> None:
        """Write `data` that came some other way (a terminal's)."""
        os.write(self._index, _RECORD.pack(time.time_ns(), stream, self.end))
        os.pwrite(self._data, data, self.end)
        self.end += len(data)

    def close(self) -> None:
        """Close the files."""
        os.close(self._data)
        os.close(self._index)


class LogReader:
    """Reads a container's log from its files; needs no engine."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._data = os.open(directory / "log.data", os.O_RDONLY | os.O_CLOEXEC)
        self._record = 0

    def close(self) -> None:
        """Close the data file."""
        os.close(self._data)

    @property
    def descriptor(self) -> int:
        """The open data file."""
        return self._data

    def chunks(self, seen: int = 0) -> list[Chunk]:
        """Return what lies behind offset `seen`, chunk by chunk; calls with growing offsets read each record once."""
        with open(self._directory / "log.index", "rb") as index:
            index.seek(self._record * _RECORD.size)
            raw = index.read()
        records = list(_RECORD.iter_unpack(raw[: len(raw) // _RECORD.size * _RECORD.size]))
        if not records:
            return []
        ends = [start for _, _, start in records[1:]] + [os.fstat(self._data).st_size]
        # the last chunk may still grow: its record is read again
        self._record += len(records) - 1
        return [
            Chunk(time_ns, stream, max(start, seen), end)
            for (time_ns, stream, start), end in zip(records, ends, strict=True)
            if end > max(start, seen)
        ]

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from `start` to `end`."""
        parts = []
        while start < end:
            part = os.pread(self._data, min(end - start, CHUNK_BYTES), start)
            if not part:
                break
            parts.append(part)
            start += len(part)
        return b"".join(parts)


@dataclass(frozen=True)
class Selection:
    """Which part of a log is wanted: streams, times in nanoseconds, the last `tail` lines, with times before lines."""

    streams: frozenset[int] = frozenset((STDIN, STDOUT, STDERR))
    since_ns: int = 0
    until_ns: int = 0
    tail: int | None = None
    timestamps: bool = False


def tail_start(reader: LogReader, chunks: Sequence[Chunk], lines: int) -> int:
    """Return the offset at which the last `lines` lines begin; chunks of unwanted streams are to be left out before."""
    if lines == 0:
        return chunks[-1].end if chunks else 0
    wanted = lines
    is_last = True
    for chunk in reversed(chunks):
        position = chunk.end
        while position > chunk.start:
            begin = max(chunk.start, position - CHUNK_BYTES)
            data = reader.read(begin, position)
            at = len(data)
            if is_last:
                is_last = False
                if data.endswith(b"\n"):
                    at -= 1
            while (at := data.rfind(b"\n", 0, at)) >= 0:
                wanted -= 1
                if wanted == 0:
                    return begin + at + 1
            position = begin
    return chunks[0].start if chunks else 0


def stamp(time_ns: int) -> bytes:
    """Return a time as Docker writes it before a line (RFC 3339 with nanoseconds)."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode() + b".%09dZ " % rest


def with_timestamps(parts: Iterator[tuple[Chunk, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Put the time of its chunk before each line; a line that a chunk goes on with gets none."""
    open_lines: dict[int, bool] = {}
    for chunk, data in parts:
        prefix = stamp(chunk.time_ns)
        ends = data.endswith(b"\n")
        body = data[:-1] if ends else data
        text = body.replace(b"\n", b"\n" + prefix) + (b"\n" if ends else b"")
        yield chunk.stream, text if open_lines.get(chunk.stream) else prefix + text
        open_lines[chunk.stream] = not ends


def select(reader: LogReader, chunks: Sequence[Chunk], selection: Selection) -> Iterator[tuple[int, bytes]]:
    """Yield (stream, bytes) of what `selection` wants, in the order in which it came."""
    wanted = [
        chunk
        for chunk in chunks
        if chunk.stream in selection.streams
        and chunk.time_ns >= selection.since_ns
        and (not selection.until_ns or chunk.time_ns <= selection.until_ns)
    ]
    if selection.tail is not None:
        begin = tail_start(reader, wanted, selection.tail)
        wanted = [
            Chunk(chunk.time_ns, chunk.stream, max(chunk.start, begin), chunk.end)
            for chunk in wanted
            if chunk.end > begin
        ]
    if selection.timestamps:
        yield from with_timestamps((chunk, reader.read(chunk.start, chunk.end)) for chunk in wanted)
        return
    yield from _joined(reader, wanted)


def _joined(reader: LogReader, chunks: Sequence[Chunk]) -> Iterator[tuple[int, bytes]]:
    """Yield neighbouring chunks of one stream as one piece of up to CHUNK_BYTES."""
    start = end = 0
    stream = -1
    for chunk in chunks:
        if chunk.stream == stream and chunk.start == end and chunk.end - start <= CHUNK_BYTES:
            end = chunk.end
            continue
        if end > start:
            yield stream, reader.read(start, end)
        stream, start, end = chunk.stream, chunk.start, chunk.end
    if end > start:
        yield stream, reader.read(start, end)
