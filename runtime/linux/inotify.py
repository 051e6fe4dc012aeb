"""File notifications (inotify(7))."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from contextlib import suppress

from runtime.errors import KernelError

IN_MODIFY = 0x00000002
IN_CLOEXEC, IN_NONBLOCK = os.O_CLOEXEC, os.O_NONBLOCK
READ_BYTES = 1 << 16
_EVENT = struct.Struct("iIII")
"""`struct inotify_event` without the name: watch descriptor, mask, cookie, length of the name that follows."""
_libc = ctypes.CDLL(None, use_errno=True)


class Inotify:
    """An inotify instance. Raises KernelError at the user's limit of instances."""

    def __init__(self) -> None:
        self._descriptor: int = _libc.inotify_init1(IN_CLOEXEC | IN_NONBLOCK)
        if self._descriptor < 0:
            raise KernelError(
                "inotify_init1", (), ctypes.get_errno(), "allow more: `sysctl fs.inotify.max_user_instances=1024`"
            )

    def fileno(self) -> int:
        """Return the file descriptor, which is readable when there are events."""
        return self._descriptor

    def add(self, path: str, mask: int) -> int:
        """Add a watch for `path`; return the watch descriptor. Raises KernelError."""
        watch: int = _libc.inotify_add_watch(self._descriptor, os.fsencode(path), ctypes.c_uint32(mask))
        if watch < 0:
            number = ctypes.get_errno()
            hint = "allow more: `sysctl fs.inotify.max_user_watches=1048576`" if number == errno.ENOSPC else None
            raise KernelError("inotify_add_watch", (path,), number, hint)
        return watch

    def remove(self, watch: int) -> None:
        """Remove a watch; the kernel has already removed that of a deleted file."""
        _libc.inotify_rm_watch(self._descriptor, watch)

    def read(self) -> list[int]:
        """Return the watch descriptors with events, -1 for a queue overflow; empty if there are no events."""
        found, data, offset = [], b"", 0
        with suppress(BlockingIOError):
            data = os.read(self._descriptor, READ_BYTES)
        while offset < len(data):
            watch, _, _, name_bytes = _EVENT.unpack_from(data, offset)
            found.append(watch)
            offset += _EVENT.size + name_bytes
        return found

    def close(self) -> None:
        """Close the file descriptor."""
        os.close(self._descriptor)
