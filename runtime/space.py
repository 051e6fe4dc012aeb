"""Disk space: keep a reserve, and report which directory is full and what to do about it."""

from __future__ import annotations

import errno
import os
import tempfile

from runtime.errors import InternalError
from runtime.paths import Paths

FULL = (errno.ENOSPC, errno.EDQUOT)
CURE = "make room, as with `skiff down`, `skiff rm` or `skiff image rm`, or name another state directory: $SKIFF_ROOT"


LARGEST_KEPT_BYTES = 64 << 20


def keep_room(directory: str | os.PathLike[str], wanted_bytes: int = 0) -> None:
    """Raise OSError (ENOSPC) if `wanted_bytes` more would use the reserve on the file system of `directory`.

    Called for what can be repeated, such as a pull. The reserve (1 %, at most 64 MiB) is for logs and records of
    running containers, whose output would be lost otherwise.
    """
    held = os.statvfs(directory)
    kept = min(LARGEST_KEPT_BYTES, held.f_blocks * held.f_frsize // 100)
    if held.f_bavail * held.f_frsize - wanted_bytes < kept:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(directory))


def is_full(error: BaseException) -> bool:
    """Whether `error` means that the disk or the quota is full."""
    return isinstance(error, OSError) and error.errno in FULL


def disk_full_error(error: BaseException, paths: Paths) -> InternalError | None:
    """Return the error that names the full directory, or None if `error` does not mean a full disk."""
    if not isinstance(error, OSError) or not is_full(error):
        return None
    named = error.filename if isinstance(error.filename, str) else None
    full = min((named or paths.root, paths.root, paths.run, tempfile.gettempdir()), key=_free_bytes)
    return InternalError(f"no space left on device: {full} is full ({_free_bytes(full) >> 10} KiB free now)", CURE)


def _free_bytes(path: str | os.PathLike[str]) -> int:
    """Return how many bytes are free on the filesystem of `path`, which need not exist."""
    place = os.path.abspath(path)
    while place != "/" and not os.path.exists(place):
        place = os.path.dirname(place)
    held = os.statvfs(place)
    return held.f_bavail * held.f_frsize
