"""Reads a log's files from any offset on; needs no engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.container.logs.files import Chunk, Segment, rebuild_lost_indexes, segment_starts

BATCH_RECORDS = 2048
MAX_HELD = 32
"""How many deleted segments, of two files each, one reader may keep open."""


class LogReader:
    """Reads the log in `directory`; `position` is the offset of the next byte to read.

    Before the writer deletes a segment it calls `hold`, so that a reader can keep it open. A reader that is behind by more
    than `most_held` deleted segments skips to what exists. With `is_awaited` the engine delays rotation until this reader
    has read the segment.
    """

    def __init__(self, directory: Path, *, is_awaited: bool = False, most_held: int = MAX_HELD) -> None:
        self.is_awaited = is_awaited
        self._most_held = most_held
        self._directory = directory
        self._held: dict[int, Segment] = {}
        self._current: Segment | None = None
        rebuild_lost_indexes(directory)
        starts = segment_starts(directory)
        self.first = starts[0] if starts else 0
        """The offset of the log's first byte when the reader was created."""
        self.position = self.first

    def close(self) -> None:
        """Close all files."""
        for segment in self._held.values():
            segment.close()
        self._held.clear()
        self._enter(None)

    def hold(self, start: int) -> None:
        """Keep the segment at `start`, which will be deleted, open if it has not been read yet."""
        if self._current is not None and self._current.start == start:
            return
        try:
            segment = Segment(self._directory, start)
        except OSError:  # too many files are open, most likely
            return
        if segment.end <= self.position or len(self._held) >= self._most_held:
            segment.close()
        else:
            self._held[start] = segment

    def hold_segment(self, segment: Segment) -> None:
        """Read `segment`, which is in no directory, in its place; it is closed here."""
        self._held[segment.start] = segment

    # --- forwards

    def chunks(self) -> list[Chunk]:
        """Return the next chunks from `position` on, [] at the end. The caller then advances `position`."""
        segment = self._reach()
        if segment is None:
            return []
        first = segment.record_at(self.position)
        found = segment.chunks(first, first + BATCH_RECORDS)
        if found and found[0].start < self.position:  # a part of the first chunk has been read
            before = segment.read(self.position - 1, self.position)
            found[0] = found[0]._replace(start=self.position, continues=before != b"\n")
        return found

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from `start` to `end`, inside chunks of the last call of `chunks`."""
        return self._current.read(start, end) if self._current is not None else b""

    def _reach(self) -> Segment | None:
        """Enter the segment with the byte at `position`, or else with the next byte; None at the end."""
        while self._current is None or self.position >= self._current.end:
            following = self._following()
            if following is None:
                return None
            self._enter(following)
            # segments in between have been deleted
            self.position = max(self.position, following)
        return self._current

    def _following(self) -> int | None:
        starts = sorted({*self._held, *segment_starts(self._directory)})
        if self._current is None:
            here = [start for start in starts if start <= self.position]
            return here[-1] if here else next(iter(starts), None)
        return next((start for start in starts if start > self._current.start), None)

    def _enter(self, start: int | None) -> None:
        if self._current is not None:
            self._current.close()
            self._current = None
        if start is not None:
            self._current = self._held.pop(start, None) or Segment(self._directory, start)

    # --- places

    @property
    def end(self) -> int:
        """The offset after the log's last byte."""
        starts = segment_starts(self._directory)
        if not starts:
            return self.position
        with self._borrowed(starts[-1]) as segment:
            return segment.end

    def offset_since(self, time_ns: int) -> int:
        """Return the offset of the first chunk with time `time_ns` or later; the end if there is none."""
        for start in segment_starts(self._directory):
            with self._borrowed(start) as segment:
                if (offset := segment.offset_since(time_ns)) < segment.end:
                    return offset
        return self.end

    def open_streams(self, offset: int) -> int:
        """Return a bit mask of the streams that were in the middle of a line before the chunk that contains `offset`."""
        here = [start for start in segment_starts(self._directory) if start <= offset]
        if not here:
            return 0
        with self._borrowed(here[-1]) as segment:
            if offset >= segment.end:
                return segment.open_at_end()
            return segment.open_streams(segment.record_at(offset))

    def backwards(self, begin: int, end: int) -> Iterator[tuple[Segment, list[Chunk]]]:
        """Yield the chunks between two offsets in batches, last batch first; `begin` is the start of a chunk."""
        for start in reversed([start for start in segment_starts(self._directory) if start < end]):
            try:
                segment = Segment(self._directory, start)
            except FileNotFoundError:  # deleted, and so are those before it
                return
            try:
                last = segment.record_at(end - 1) + 1 if segment.count else 0
                while last > 0:
                    first = max(0, last - BATCH_RECORDS)
                    chunks = segment.chunks(first, last)
                    if chunks and chunks[-1].end > end:
                        chunks[-1] = chunks[-1]._replace(end=end)
                    is_last = bool(chunks) and chunks[0].start <= begin
                    yield segment, [chunk for chunk in chunks if chunk.start >= begin] if is_last else chunks
                    if is_last:
                        return
                    last = first
            finally:
                segment.close()

    @contextmanager
    def _borrowed(self, start: int) -> Iterator[Segment]:
        segment = Segment(self._directory, start)
        try:
            yield segment
        finally:
            segment.close()
