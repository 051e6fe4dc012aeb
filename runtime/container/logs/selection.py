"""The part of a log that `GET /logs` asks for (since, until, tail, streams), in whole lines, with prefixes.

A line belongs to the part in which it begins.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

from runtime.container.logs.files import CHUNK_BYTES, STDERR, STDIN, STDOUT, Chunk
from runtime.container.logs.reader import LogReader

PREFIXED_BYTES = 64 << 10
"""How much data is prefixed at once: with many short lines the result is many times as large."""
LONGEST_REST = 16 << 10
"""How much is skipped of a line whose beginning was deleted: Docker splits longer lines into pieces of this size."""


@dataclass(frozen=True)
class Selection:
    """The parameters: streams, times in nanoseconds (0: no limit), last `tail` lines, prefixes of lines."""

    streams: frozenset[int] = frozenset((STDIN, STDOUT, STDERR))
    since_ns: int = 0
    until_ns: int = 0
    tail: int | None = None
    timestamps: bool = False
    details: bytes = b""

    def wants(self, chunk: Chunk) -> bool:
        """Whether a chunk is of a selected stream and not after `until_ns`."""
        return chunk.stream in self.streams and not (self.until_ns and chunk.time_ns > self.until_ns)


class LogSlice:
    """The selected part of a log, chunk by chunk. Call `find` or `start_at` first, then `frames` for chunks of `reader`."""

    def __init__(self, reader: LogReader, selection: Selection) -> None:
        self._reader = reader
        self._selection = selection
        self._stamps = Stamps()
        self._next = 0
        """The start of the next chunk, unless segments are deleted before they are read."""
        self._rests: dict[int, int | None] = {}
        """Streams whose next bytes are the rest of a skipped line → the maximum to skip (None: no limit)."""
        self._unended: set[int] = set()
        """Streams whose last line was sent without its newline."""
        self._lost: set[int] = set()
        """Streams that lost data, as segments were deleted before they were read, and have sent nothing since."""
        self._cut: set[int] = set()
        """Those of them whose unfinished line has to be ended with a newline."""
        self.is_over = False
        """Whether all further chunks are after `until_ns`."""

    def start_at(self, offset: int) -> None:
        """Move the reader to an offset."""
        self._reader.position = self._next = offset

    def find(self) -> Iterator[None]:
        """Move the reader to the start of the part; a generator, so that the caller can run other tasks in between."""
        reader, selection = self._reader, self._selection
        begin = reader.first
        if selection.since_ns:
            begin = max(begin, reader.offset_since(selection.since_ns))
        if selection.tail is not None:
            begin = yield from _tail_begin(reader, begin, reader.end, selection)
        self.start_at(begin)
        # skip the rest of lines that began before; where the log's beginning was deleted, only up to LONGEST_REST
        is_open = reader.open_streams(begin) if begin else 0
        most = LONGEST_REST if begin == reader.first else None
        if selection.tail:
            is_open &= ~self._beginning(begin)
        self._rests = {stream: most for stream in selection.streams if is_open >> stream & 1}

    def _beginning(self, begin: int) -> int:
        """Return the bit of the stream whose chunk contains `begin` if a line starts there."""
        first = next(iter(self._reader.chunks()), None)
        return 1 << first.stream if first is not None and first.start == begin and not first.continues else 0

    def frames(self, chunks: Sequence[Chunk]) -> Iterator[tuple[int, bytes]]:
        """Yield (stream, bytes) for those of the reader's next `chunks` that are selected."""
        if chunks and chunks[0].start > self._next:
            self._lost, self._cut = set(self._selection.streams), set(self._unended)
        self._next = chunks[-1].end if chunks else self._next
        wanted = []
        for chunk in chunks:
            if self._selection.until_ns and chunk.time_ns > self._selection.until_ns:
                self.is_over = True
                break
            if chunk.stream in self._selection.streams:
                kept = self._without_rest(chunk) if self._lost or chunk.stream in self._rests else chunk
                if kept is not None:
                    wanted.append(kept)
        is_plain = not self._selection.timestamps and not self._selection.details
        for run in runs(wanted, CHUNK_BYTES if is_plain else PREFIXED_BYTES):
            yield run[0].stream, self._shown(run)

    def _without_rest(self, chunk: Chunk) -> Chunk | None:
        """Return `chunk` without the rest of a skipped line; None if nothing is left."""
        if chunk.stream in self._lost:
            self._lost.discard(chunk.stream)
            if chunk.continues:
                self._rests[chunk.stream] = LONGEST_REST
        if chunk.stream not in self._rests:
            return chunk
        most = self._rests[chunk.stream]
        data = self._reader.read(chunk.start, chunk.end)
        found = data.find(b"\n", 0, most)
        if found >= 0 or (most is not None and len(data) >= most):
            del self._rests[chunk.stream]
            start = chunk.start + (found + 1 if found >= 0 else most or 0)
            return chunk._replace(start=start, continues=False) if start < chunk.end else None
        if most is not None:
            self._rests[chunk.stream] = most - len(data)
        return None

    def _shown(self, run: Sequence[Chunk]) -> bytes:
        data = self._reader.read(run[0].start, run[-1].end)
        if not self._selection.timestamps and not self._selection.details:
            return self._plain(run[0], data)
        return b"".join(
            self._prefixed(chunk, data[chunk.start - run[0].start : chunk.end - run[0].start]) for chunk in run
        )

    def _plain(self, first: Chunk, data: bytes) -> bytes:
        is_cut = first.stream in self._cut
        self._cut.discard(first.stream)
        (self._unended.discard if data.endswith(b"\n") else self._unended.add)(first.stream)
        return b"\n" + data if is_cut else data

    def _prefixed(self, chunk: Chunk, data: bytes) -> bytes:
        """Prefix each line that begins in the chunk."""
        prefix = self._stamps.of(chunk.time_ns) if self._selection.timestamps else b""
        prefix += self._selection.details
        ends = data.endswith(b"\n")
        body = (data[:-1] if ends else data).replace(b"\n", b"\n" + prefix)
        head = b"" if chunk.continues else prefix
        if head and chunk.stream in self._unended:
            head = b"\n" + head  # the last line of an earlier process, which ended without a newline
        (self._unended.discard if ends else self._unended.add)(chunk.stream)
        return head + body + (b"\n" if ends else b"")


class Stamps:
    """Formats the time before a line as Docker does (RFC 3339 with nanoseconds)."""

    def __init__(self) -> None:
        self._second = -1
        self._text = b""

    def of(self, time_ns: int) -> bytes:
        """Return the text for a time in nanoseconds since 1970, with a trailing space."""
        second, rest = divmod(time_ns, 1_000_000_000)
        if second != self._second:
            self._second, self._text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
        return self._text + b".%09dZ " % rest


def runs(chunks: Iterable[Chunk], most_bytes: int = CHUNK_BYTES) -> Iterator[list[Chunk]]:
    """Group adjacent chunks of one stream, to at most `most_bytes` unless a single chunk is longer."""
    run: list[Chunk] = []
    for chunk in chunks:
        if run and (
            chunk.stream != run[0].stream or chunk.start != run[-1].end or chunk.end - run[0].start > most_bytes
        ):
            yield run
            run = []
        run.append(chunk)
    if run:
        yield run


def _tail_begin(reader: LogReader, begin: int, end: int, selection: Selection) -> Generator[None, None, int]:
    """Return the offset of the first of the last `selection.tail` lines that begin between two offsets."""
    wanted = selection.tail or 0
    if wanted == 0:
        return end
    for segment, chunks in reader.backwards(begin, end):
        for run in reversed(list(runs(chunk for chunk in chunks if selection.wants(chunk)))):
            data, base = segment.read(run[0].start, run[-1].end), run[0].start
            for chunk in reversed(run):
                # lines that begin in the chunk: after each newline but the last byte, and at its start unless it continues
                lines = data.count(b"\n", chunk.start - base, chunk.end - base - 1) + (not chunk.continues)
                if lines >= wanted:
                    at = chunk.start - base
                    for _ in range(lines - wanted + chunk.continues):
                        at = data.index(b"\n", at) + 1
                    return base + at
                wanted -= lines
            yield
    return begin
