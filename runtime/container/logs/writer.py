"""Moves a container's output from its pipes into its log (format: see the package).

What a crash of the engine leaves between two steps, and what the next writer does:

    1. append the index record      nothing: a record without data is an empty chunk, which readers skip
    2. splice(2) pipe → data file   one system call: the bytes are in the pipe, which the keeper holds open, or in the file

    Rotation: 1. create index       an index without data: deleted by `__init__`
              2. create data        an empty segment: it is the last one, and written to
              3. delete old data    an index without data: deleted by `__init__`
              4. delete old index

A power cut may lose either file's end: records that point beyond the data are truncated (`_recovered`), and data without
an index get a new one (`files.rebuild_lost_indexes`).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from runtime.container.logs.files import (
    CHUNK_BYTES,
    OPEN_SHIFT,
    RECORD,
    Segment,
    data_path,
    ends_line,
    index_path,
    rebuild_lost_indexes,
    segment_starts,
)
from runtime.container.logs.options import UNLIMITED, LogLimits
from runtime.container.logs.reader import LogReader
from runtime.errors import KernelError

SPLICE_F_MOVE, SPLICE_F_NONBLOCK = 1, 2
FIONREAD = 0x541B
"""ioctl_tty(2): number of readable bytes. From termios, but importing that costs too much memory."""
MIN_TAKEN_BYTES = 4096
"""The minimum moved at once; a segment may exceed its limit by this much."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.splice.restype = ctypes.c_ssize_t


class LogWriter:
    """Writes the log in `directory` within `limits`; rotated segments are offered to slow `readers` before deletion.

    `began_ns` is the start of the container's process: unfinished lines of an earlier process are not continued.
    """

    def __init__(
        self, directory: Path, limits: LogLimits = UNLIMITED, readers: Iterable[LogReader] = (), began_ns: int = 0
    ) -> None:
        self._directory = directory
        self._limits = limits
        self._readers = readers
        self._was_used = False
        self._data = self._index = -1
        self._last_ns = self._open = 0
        self._starts = segment_starts(directory)
        self._has_no_files = not self._starts
        if self._starts:
            self._start = self._starts[-1]
            self._take_over(began_ns)
        else:  # of a new container: there are no files until it writes something
            self._starts = [0]
            self._start = self.end = 0

    def _take_over(self, began_ns: int) -> None:
        """Go on where an earlier writer ended, however it ended."""
        directory = self._directory
        rebuild_lost_indexes(directory)
        self._data, self._index = _opened(directory, self._start)
        self.end = self._start + os.fstat(self._data).st_size
        self._last_ns, self._open = self._recovered()
        if self._last_ns < began_ns:
            self._open = 0
        for path in directory.glob("log*.index"):  # left by an engine that was killed in a rotation
            if not path.with_suffix(".data").exists():
                path.unlink()
        self._drop()
        self.close()

    def _recovered(self) -> tuple[int, int]:
        """Truncate invalid records; return the last record's time and a bit mask of streams in the middle of a line."""
        while count := os.fstat(self._index).st_size // RECORD.size:
            time_ns, word, start = RECORD.unpack(os.pread(self._index, RECORD.size, (count - 1) * RECORD.size))
            if time_ns and self._start <= start <= self.end:
                break
            # a power cut lost the record or its data
            os.ftruncate(self._index, (count - 1) * RECORD.size)
        os.ftruncate(self._index, count * RECORD.size)
        if not count:
            return 0, 0
        stream, is_open = word & (1 << OPEN_SHIFT) - 1, word >> OPEN_SHIFT
        if start < self.end:
            is_open = is_open & ~(1 << stream) | ((not ends_line(self._data, self.end - self._start)) << stream)
        return time_ns, is_open

    # --- what comes

    def take(self, pipe: int, stream: int) -> int:
        """Move data from `pipe` into the log; return the number of bytes, 0 at EOF.

        Raises BlockingIOError if the pipe is empty, KernelError or OSError if writing fails.
        """
        if self.is_full and _holds_bytes(pipe):  # not at EOF, where a rotation would delete a segment needlessly
            self._rotate()
        self._open_files()
        self._record(stream)
        position = self.end - self._start
        offset = ctypes.c_longlong(position)
        moved: int = _libc.splice(
            pipe,
            None,
            self._data,
            ctypes.byref(offset),
            ctypes.c_size_t(self._room()),
            SPLICE_F_MOVE | SPLICE_F_NONBLOCK,
        )
        if moved < 0:
            number = ctypes.get_errno()
            if number == errno.EAGAIN:
                raise BlockingIOError(number, "the pipe is empty")
            hint = "is the disk full?" if number == errno.ENOSPC else None
            raise KernelError("splice", (pipe, self._data), number, hint)
        if moved:
            self._moved(moved, stream)
        return moved

    def append(self, data: bytes, stream: int) -> None:
        """Append `data`, as read from a terminal. Raises OSError."""
        self._open_files()
        view = memoryview(data)
        try:
            while view:
                if self.is_full:
                    self._rotate()
                self._record(stream)
                written = os.pwrite(self._data, view[: self._room()], self.end - self._start)
                self._moved(written, stream)
                view = view[written:]
        except OSError:
            self.pass_on(bytes(view), stream)
            raise

    def pass_on(self, data: bytes, stream: int) -> None:
        """Give `data`, for which there is no room, to the readers that wait for it, and to nobody else.

        Raises OSError when there is no memory for it.
        """
        awaited = [reader for reader in self._readers if reader.is_awaited]
        if not awaited or not data:
            return
        self.close()
        self._last_ns = max(time.time_ns(), self._last_ns + 1)
        record = RECORD.pack(self._last_ns, stream | self._open << OPEN_SHIFT, self.end)
        for reader in awaited:
            reader.hold_segment(Segment.in_memory(self.end, record, data))
        self._open = self._open & ~(1 << stream) | (not data.endswith(b"\n")) << stream
        self.end += len(data)
        # what has room again begins a new segment behind it
        self._start = self.end
        if self._has_no_files:
            self._starts.pop()
        self._starts.append(self._start)
        self._has_no_files = True

    def _moved(self, count: int, stream: int) -> None:
        self.end += count
        is_in_line = not ends_line(self._data, self.end - self._start)
        self._open = self._open & ~(1 << stream) | is_in_line << stream

    def _record(self, stream: int) -> None:
        # times increase strictly even if the clock is set back: clients continue reading at a time
        self._last_ns = max(time.time_ns(), self._last_ns + 1)
        record = RECORD.pack(self._last_ns, stream | self._open << OPEN_SHIFT, self.end)
        if os.write(self._index, record) < len(record):
            # a partial record would misalign all later ones
            os.ftruncate(self._index, os.fstat(self._index).st_size // RECORD.size * RECORD.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # --- limits

    @property
    def is_full(self) -> bool:
        """Whether the next write starts a new segment."""
        return self._limits.max_bytes is not None and self.end - self._start >= self._limits.max_bytes

    @property
    def next_drop(self) -> int:
        """The offset before which everything will be deleted at the next rotation."""
        starts = [*self._starts, self.end]
        return starts[-self._limits.files] if len(starts) > self._limits.files else 0

    def _room(self) -> int:
        if self._limits.max_bytes is None:
            return CHUNK_BYTES
        return min(CHUNK_BYTES, max(self._start + self._limits.max_bytes - self.end, MIN_TAKEN_BYTES))

    def _rotate(self) -> None:
        """Start a new segment and delete the oldest."""
        data, index = _opened(self._directory, self.end)
        self.close()
        self._data, self._index, self._start = data, index, self.end
        self._starts.append(self.end)
        self._drop()

    def _drop(self) -> None:
        # a log without limits has several segments only where a full disk left gaps
        while self._limits.max_bytes is not None and len(self._starts) > self._limits.files:
            start = self._starts.pop(0)
            for reader in self._readers:
                reader.hold(start)
            for path in (data_path(self._directory, start), index_path(self._directory, start)):
                with suppress(FileNotFoundError):
                    os.unlink(path)

    # --- files

    def _open_files(self) -> None:
        """Open the files unless they are open. Raises OSError."""
        self._was_used = True
        if self._data < 0:
            self._data, self._index = _opened(self._directory, self._start)
            self._has_no_files = False

    def close_if_idle(self) -> None:
        """Close the files if nothing was written since the last call; the next write opens them again.

        Most containers write little, and their logs would be a third of the engine's descriptors.
        """
        if not self._was_used:
            self.close()
        self._was_used = False

    def close(self) -> None:
        """Close the files if they are open."""
        for descriptor in (self._data, self._index):
            if descriptor >= 0:
                os.close(descriptor)
        self._data = self._index = -1


def _opened(directory: Path, start: int) -> tuple[int, int]:
    flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC
    # the index first: a segment exists once its data file does, and then it has both
    index = os.open(index_path(directory, start), flags | os.O_APPEND, 0o600)
    try:
        return os.open(data_path(directory, start), flags, 0o600), index
    except OSError:
        os.close(index)
        raise


def _holds_bytes(pipe: int) -> bool:
    return any(fcntl.ioctl(pipe, FIONREAD, bytes(4)))
