"""Reading what a container's process writes, from our end of its pipe or terminal."""

from __future__ import annotations

import errno
import os


def read_output(descriptor: int, size: int) -> bytes:
    """Return at most `size` bytes of a non-blocking descriptor, b"" at EOF. Raises BlockingIOError, OSError."""
    try:
        return os.read(descriptor, size)
    except OSError as error:
        if error.errno == errno.EIO:  # tty: EOF, no process has the other side open
            return b""
        raise
