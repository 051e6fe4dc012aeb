"""Which part of a log is wanted, and how it is shown: whole lines, each whose beginning is in that part."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

from runtime.container.logs.files import CHUNK_BYTES, STDERR, STDIN, STDOUT, Chunk
from runtime.container.logs.reader import LogReader

PREFIXED_BYTES = 64 << 10
"""The most of a log that is given prefixes at once: a prefix is many times as long as an empty line."""
LONGEST_REST = 16 << 10
"""How much of a line is left out whose beginning was dropped: Docker keeps longer lines in pieces of this size."""


@dataclass(frozen=True)
class Selection:
    """Which part is wanted: streams, times in nanoseconds, the last `tail` lines; with times and `details` before lines."""

    streams: frozenset[int] = frozenset((STDIN, STDOUT, STDERR))
    since_ns: int = 0
    until_ns: int = 0
    tail: int | None = None
    timestamps: bool = False
    details: bytes = b""

    def wants(self, chunk: Chunk) -> bool:
        """Whether a chunk is of a wanted stream, and came in time."""
        return chunk.stream in self.streams and not (self.until_ns and chunk.time_ns > self.until_ns)


class LogSlice:
    """The wanted part of what `reader` reads, taken chunk by chunk. Is begun by `find` or by `start_at`."""

    def __init__(self, reader: LogReader, selection: Selection) -> None:
        self._reader = reader
        self._selection = selection
        self._stamps = Stamps()
        self._next = 0
        """Where the next chunk begins, if nothing is lost."""
        self._rests: dict[int, int | None] = {}
        """The streams whose next bytes are the rest of a line that is left out, and how much of it at most."""
        self._unended: set[int] = set()
        """The streams whose last line was given without its end."""
        self._lost: set[int] = set()
        """The streams of which something was dropped before it was read, and nothing was read since."""
        self._cut: set[int] = set()
        """Those of them whose line goes on with none of its own bytes."""
        self.is_over = False
        """Whether what comes is too late to be wanted."""

    def start_at(self, offset: int) -> None:
        """Set the reader to an offset."""
        self._reader.position = self._next = offset

    def find(self) -> Iterator[None]:
        """Set the reader to the beginning of the part; yields now and then, so that others have their turn."""
        reader, selection = self._reader, self._selection
        begin = reader.first
        if selection.since_ns:
            begin = max(begin, reader.offset_since(selection.since_ns))
        if selection.tail is not None:
            begin = yield from _tail_begin(reader, begin, reader.end, selection)
        self.start_at(begin)
        # lines that began before are no part of it; they may be longer than what was dropped of them
        is_open = reader.open_streams(begin) if begin else 0
        most = LONGEST_REST if begin == reader.first else None
        if selection.tail:
            is_open &= ~self._beginning(begin)
        self._rests = {stream: most for stream in selection.streams if is_open >> stream & 1}

    def _beginning(self, begin: int) -> int:
        """Return the bit of the stream whose chunk has `begin` in its midst, where a line begins."""
        first = next(iter(self._reader.chunks()), None)
        return 1 << first.stream if first is not None and first.start == begin and not first.continues else 0

    def frames(self, chunks: Sequence[Chunk]) -> Iterator[tuple[int, bytes]]:
        """Yield (stream, bytes) of the wanted among the reader's next `chunks`."""
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
        """Return `chunk` without the rest of a line that is left out; None when that is all of it."""
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
        """Put what is wanted before each line; a line that the chunk goes on with has it already."""
        prefix = self._stamps.of(chunk.time_ns) if self._selection.timestamps else b""
        prefix += self._selection.details
        ends = data.endswith(b"\n")
        body = (data[:-1] if ends else data).replace(b"\n", b"\n" + prefix)
        head = b"" if chunk.continues else prefix
        if head and chunk.stream in self._unended:
            head = b"\n" + head  # another process wrote that line, and no end
        (self._unended.discard if ends else self._unended.add)(chunk.stream)
        return head + body + (b"\n" if ends else b"")


class Stamps:
    """Writes times as Docker writes them before a line (RFC 3339 with nanoseconds)."""

    def __init__(self) -> None:
        self._second = -1
        self._text = b""

    def of(self, time_ns: int) -> bytes:
        """Return the text of a time in nanoseconds since 1970, with the space behind it."""
        second, rest = divmod(time_ns, 1_000_000_000)
        if second != self._second:
            self._second, self._text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
        return self._text + b".%09dZ " % rest


def runs(chunks: Iterable[Chunk], most_bytes: int = CHUNK_BYTES) -> Iterator[list[Chunk]]:
    """Yield neighbouring chunks of one stream together; several are not longer than `most_bytes`."""
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
    """Return the offset at which the last `selection.tail` lines begin that begin between the two offsets."""
    wanted = selection.tail or 0
    if wanted == 0:
        return end
    for segment, chunks in reader.backwards(begin, end):
        for run in reversed(list(runs(chunk for chunk in chunks if selection.wants(chunk)))):
            data, base = segment.read(run[0].start, run[-1].end), run[0].start
            for chunk in reversed(run):
                # a line begins behind each line's end but the chunk's, and where the chunk does not go on with one
                lines = data.count(b"\n", chunk.start - base, chunk.end - base - 1) + (not chunk.continues)
                if lines >= wanted:
                    at = chunk.start - base
                    for _ in range(lines - wanted + chunk.continues):
                        at = data.index(b"\n", at) + 1
                    return base + at
                wanted -= lines
            yield
    return begin
