"""The files of a log (format: see the package): their names, index records, and reading one segment."""

from __future__ import annotations

import os
import re
import stat
import struct
from bisect import bisect_left, bisect_right
from pathlib import Path
from typing import NamedTuple

STDIN, STDOUT, STDERR = 0, 1, 2
"""Stream numbers of the attach protocol. A terminal's output, which is not framed there, has 0."""
CHUNK_BYTES = 1 << 20
"""The maximum that is moved or read at once."""
RECORD = struct.Struct("<QQQ")
"""(time_ns, stream | open streams << OPEN_SHIFT, offset)."""
OPEN_SHIFT = 8
_STREAM_BITS = (1 << OPEN_SHIFT) - 1
_DATA_NAME = re.compile(r"log(?:\.([0-9]+))?\.data")


class Chunk(NamedTuple):
    """Output of one stream at `time_ns`, offsets `start` to `end`; `continues`: it starts in the middle of a line."""

    time_ns: int
    stream: int
    start: int
    end: int
    continues: bool


READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
"""O_NONBLOCK: opening a FIFO that stands in a file's place would wait for a writer."""


def data_path(directory: Path, start: int) -> Path:
    """Return the path of the data file of the segment at offset `start`."""
    return directory / (f"log.{start}.data" if start else "log.data")


def index_path(directory: Path, start: int) -> Path:
    """Return the path of the index file of the segment at offset `start`."""
    return data_path(directory, start).with_suffix(".index")


def segment_starts(directory: Path) -> list[int]:
    """Return the offsets of the segments, oldest first; [] if there is no log."""
    try:
        found = [match for name in os.listdir(directory) if (match := _DATA_NAME.fullmatch(name))]
    except FileNotFoundError:
        return []
    return sorted(int(match[1] or 0) for match in found)


def ends_line(descriptor: int, position: int) -> bool:
    """Whether the byte before `position` is a newline, or `position` is 0."""
    return position == 0 or os.pread(descriptor, 1, position - 1) in (b"\n", b"")


def rebuild_lost_indexes(directory: Path) -> None:
    """Write a new index for each segment with data whose index is missing, empty or damaged.

    Streams and times are lost: all becomes standard output at the time of the last write.
    """
    for start in segment_starts(directory):
        # data first: a concurrent writer writes the record before the data, so data implies a record
        data = os.open(data_path(directory, start), READING)
        try:
            about = os.fstat(data)
            if about.st_size and not _begins_well(index_path(directory, start), start):
                _write_index(directory, start, data, about)
        finally:
            os.close(data)


def _begins_well(index: Path, start: int) -> bool:
    if not index.is_file():
        return False
    with open(index, "rb") as file:
        first = file.read(RECORD.size)
    if len(first) < RECORD.size:
        return False
    time_ns, _, offset = RECORD.unpack(first)
    return bool(time_ns) and offset == start


def _write_index(directory: Path, start: int, data: int, about: os.stat_result) -> None:
    places = range(0, about.st_size, CHUNK_BYTES)
    first_ns = about.st_mtime_ns - len(places)
    fresh = index_path(directory, start).with_suffix(".index.new")
    with open(fresh, "wb") as file:
        for number, place in enumerate(places):
            is_open = 0 if ends_line(data, place) else 1 << STDOUT
            file.write(RECORD.pack(first_ns + number, STDOUT | is_open << OPEN_SHIFT, start + place))
        os.fchmod(file.fileno(), stat.S_IMODE(about.st_mode))
        os.fsync(file.fileno())
    os.replace(fresh, index_path(directory, start))


class Segment:
    """One segment, opened for reading. Raises FileNotFoundError if it was deleted."""

    def __init__(self, directory: Path, start: int) -> None:
        self.start = start
        self._data = os.open(data_path(directory, start), READING)
        try:
            self._index = os.open(index_path(directory, start), READING)
        except OSError:
            os.close(self._data)
            raise

    @classmethod
    def in_memory(cls, start: int, record: bytes, data: bytes) -> Segment:
        """Return a segment of one record that is in no directory: for the one who gets it. Raises OSError."""
        segment = cls.__new__(cls)
        segment.start = start
        segment._data = os.memfd_create("log.data", os.MFD_CLOEXEC)
        segment._index = os.memfd_create("log.index", os.MFD_CLOEXEC)
        os.write(segment._data, data)
        os.write(segment._index, record)
        return segment

    def close(self) -> None:
        """Close the files."""
        os.close(self._data)
        os.close(self._index)

    @property
    def end(self) -> int:
        """The offset after its last byte."""
        return self.start + os.fstat(self._data).st_size

    @property
    def is_dropped(self) -> bool:
        """Whether its file has been deleted."""
        return os.fstat(self._data).st_nlink == 0

    @property
    def count(self) -> int:
        """The number of its records."""
        return os.fstat(self._index).st_size // RECORD.size

    def _words(self, record: int) -> tuple[int, int, int]:
        time_ns, stream, offset = RECORD.unpack(os.pread(self._index, RECORD.size, record * RECORD.size))
        return time_ns, stream, offset

    def record_at(self, offset: int) -> int:
        """Return the index of the record whose chunk contains `offset`."""
        return max(0, bisect_right(range(self.count), offset, key=lambda record: self._words(record)[2]) - 1)

    def offset_since(self, time_ns: int) -> int:
        """Return the offset of the first chunk with time `time_ns` or later; the end if there is none."""
        count = self.count
        record = bisect_left(range(count), time_ns, key=lambda record: self._words(record)[0])
        return self._words(record)[2] if record < count else self.end

    def open_streams(self, record: int) -> int:
        """Return a bit mask of the streams in the middle of a line before the chunk of `record`."""
        return self._words(record)[1] >> OPEN_SHIFT if record < self.count else 0

    def open_at_end(self) -> int:
        """Return a bit mask of the streams in the middle of a line at the end of the data."""
        count = self.count
        if not count:
            return 0
        _, word, start = self._words(count - 1)
        stream, is_open = word & _STREAM_BITS, word >> OPEN_SHIFT
        size = os.fstat(self._data).st_size
        if self.start + size <= start:
            return is_open
        return is_open & ~(1 << stream) | ((not ends_line(self._data, size)) << stream)

    def chunks(self, first: int, last: int) -> list[Chunk]:
        """Return the chunks of records `first` to `last` (exclusive) that are not empty."""
        raw = os.pread(self._index, (last - first + 1) * RECORD.size, first * RECORD.size)
        records = list(RECORD.iter_unpack(raw[: len(raw) // RECORD.size * RECORD.size]))
        ends = [offset for _, _, offset in records[1:]]
        if len(records) <= last - first:
            ends.append(self.end)
        return [
            Chunk(time_ns, word & _STREAM_BITS, start, end, bool(word >> OPEN_SHIFT + (word & _STREAM_BITS) & 1))
            for (time_ns, word, start), end in zip(records, ends, strict=False)
            if end > start
        ]

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from offset `start` to `end`, fewer at the end of the data."""
        parts = []
        while start < end:
            part = os.pread(self._data, min(end - start, CHUNK_BYTES), start - self.start)
            if not part:
                break
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
