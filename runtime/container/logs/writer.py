"""The engine's end of a log: takes what the pipes give.

The index record is written before `splice(2)` moves the chunk from pipe to file in one call, so that an engine killed at
any point leaves either bytes in the pipe (which the keeper keeps open) or bytes in the file that a record names already.
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
"""ioctl_tty(2): how many bytes can be read; importing termios for it costs too much."""
LEAST_TAKEN_BYTES = 4096
"""A segment may be this much too long: to take less at once would cost more than it keeps."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.splice.restype = ctypes.c_ssize_t


class LogWriter:
    """Writes the log in `directory` within `limits`; what it drops, `readers` that have not read it yet may hold.

    A line that was begun before `began_ns`, by an earlier process, is not gone on with.
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
        for path in directory.glob("log*.index"):  # of a segment in whose drop, or beginning, an engine was killed
            if not path.with_suffix(".data").exists():
                path.unlink()
        self._drop()
        self.close()

    def _recovered(self) -> tuple[int, int]:
        """Cut off what a crash left of records; return the last record's time and which streams are amid a line."""
        while count := os.fstat(self._index).st_size // RECORD.size:
            time_ns, word, start = RECORD.unpack(os.pread(self._index, RECORD.size, (count - 1) * RECORD.size))
            if time_ns and self._start <= start <= self.end:
                break
            # the machine lost the record, or the data that it was for; what comes now has another
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
        """Move what `pipe` holds into the log; return the bytes, 0 at the end of the pipe.

        Raises BlockingIOError when there is nothing now, KernelError or OSError when it can't be kept.
        """
        if self.is_full and _holds_bytes(pipe):  # at the end of the pipe nothing is dropped for nothing
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
        """Write `data` that came some other way (a terminal's). Raises OSError when it can't be kept."""
        self._open_files()
        view = memoryview(data)
        while view:
            if self.is_full:
                self._rotate()
            self._record(stream)
            written = os.pwrite(self._data, view[: self._room()], self.end - self._start)
            self._moved(written, stream)
            view = view[written:]

    def _moved(self, count: int, stream: int) -> None:
        self.end += count
        is_amid_line = not ends_line(self._data, self.end - self._start)
        self._open = self._open & ~(1 << stream) | is_amid_line << stream

    def _record(self, stream: int) -> None:
        # each chunk has a time of its own, whatever the clock does: a time tells a place in the log
        self._last_ns = max(time.time_ns(), self._last_ns + 1)
        record = RECORD.pack(self._last_ns, stream | self._open << OPEN_SHIFT, self.end)
        if os.write(self._index, record) < len(record):
            # part of a record would put all later ones out of place
            os.ftruncate(self._index, os.fstat(self._index).st_size // RECORD.size * RECORD.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # --- limits

    @property
    def is_full(self) -> bool:
        """Whether what comes next begins a new segment."""
        return self._limits.max_bytes is not None and self.end - self._start >= self._limits.max_bytes

    @property
    def next_drop(self) -> int:
        """The offset before which everything is dropped when a new segment begins."""
        starts = [*self._starts, self.end]
        return starts[-self._limits.files] if len(starts) > self._limits.files else 0

    def _room(self) -> int:
        if self._limits.max_bytes is None:
            return CHUNK_BYTES
        return min(CHUNK_BYTES, max(self._start + self._limits.max_bytes - self.end, LEAST_TAKEN_BYTES))

    def _rotate(self) -> None:
        """Begin a new segment and drop the oldest. A crash at any point leaves a row without gaps."""
        data, index = _opened(self._directory, self.end)
        self.close()
        self._data, self._index, self._start = data, index, self.end
        self._starts.append(self.end)
        self._drop()

    def _drop(self) -> None:
        while len(self._starts) > self._limits.files:
            start = self._starts.pop(0)
            for reader in self._readers:
                reader.hold(start)
            for path in (data_path(self._directory, start), index_path(self._directory, start)):
                with suppress(FileNotFoundError):
                    os.unlink(path)

    # --- files

    def _open_files(self) -> None:
        """Have the files open. Raises OSError."""
        self._was_used = True
        if self._data < 0:
            self._data, self._index = _opened(self._directory, self._start)

    def close_if_idle(self) -> None:
        """Close the files when nothing has come since this was called before; what comes opens them again.

        Most containers say little: their logs' descriptors would be a third of all that the engine holds.
        """
        if not self._was_used:
            self.close()
        self._was_used = False

    def close(self) -> None:
        """Close the files, where they are open."""
        for descriptor in (self._data, self._index):
            if descriptor >= 0:
                os.close(descriptor)
        self._data = self._index = -1


def _opened(directory: Path, start: int) -> tuple[int, int]:
    flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC
    # the index first: a segment is there once its data are, and then it has both
    index = os.open(index_path(directory, start), flags | os.O_APPEND, 0o600)
    try:
        return os.open(data_path(directory, start), flags, 0o600), index
    except OSError:
        os.close(index)
        raise


def _holds_bytes(pipe: int) -> bool:
    return any(fcntl.ioctl(pipe, FIONREAD, bytes(4)))
