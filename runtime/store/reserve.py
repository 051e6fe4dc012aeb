"""Room kept for records, so that what runs can be stopped and removed when the disk is full."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

RESERVED_BYTES = 1 << 20
GIVEN_BYTES = 1 << 16


class Reserve:
    """A file of blocks that nobody needs; some are given back when a record can't be written for want of room."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def fill(self) -> None:
        """Take the room where there is some."""
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, RESERVED_BYTES)
            finally:
                os.close(descriptor)

    def give(self) -> bool:
        """Give some of the room back to the file system; False when there is none left."""
        try:
            size = self._path.stat().st_size
            if not size:
                return False
            os.truncate(self._path, max(0, size - GIVEN_BYTES))
        except OSError:
            return False
        return True
