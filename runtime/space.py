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
LITTLE_BYTES = 1 << 20
"""With less than this, bytes are what is missing."""
FEW_INODES = 16
"""What failed may have removed its files already."""


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
    places = (named or paths.root, paths.root, paths.run, tempfile.gettempdir())
    full = min(places, key=_free_bytes)
    most_used = min(places, key=_free_inodes)
    if _free_inodes(most_used) < FEW_INODES and _free_bytes(full) > LITTLE_BYTES:
        message = (
            f"no space left on device: {most_used} has room, but its filesystem can have no more files (no inodes left)"
        )
        return InternalError(message, CURE)
    return InternalError(f"no space left on device: {full} is full ({_free_bytes(full) >> 10} KiB free now)", CURE)


def _free_bytes(path: str | os.PathLike[str]) -> int:
    """Return how many bytes are free on the filesystem of `path`, which need not exist."""
    held = _filesystem(path)
    return held.f_bavail * held.f_frsize


def _free_inodes(path: str | os.PathLike[str]) -> float:
    """Return how many files can be created on the filesystem of `path`; some filesystems have no limit (statvfs(3))."""
    held = _filesystem(path)
    return held.f_favail if held.f_files else float("inf")


def _filesystem(path: str | os.PathLike[str]) -> os.statvfs_result:
    place = os.path.abspath(path)
    while place != "/" and not os.path.exists(place):
        place = os.path.dirname(place)
    return os.statvfs(place)
