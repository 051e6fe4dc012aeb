"""Disk space reserved for records, so that containers can be stopped and removed when the disk is full."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

RESERVED_BYTES = 1 << 20
GIVEN_BYTES = 1 << 16


class Reserve:
    """An allocated file; it is shrunk when a record can't be written because the disk is full."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def fill(self) -> None:
        """Allocate the space, if there is any."""
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, RESERVED_BYTES)
            finally:
                os.close(descriptor)

    def give(self) -> bool:
        """Free some of the space; return False if none is left."""
        try:
            size = self._path.stat().st_size
            if not size:
                return False
            os.truncate(self._path, max(0, size - GIVEN_BYTES))
        except OSError:
            return False
        return True
