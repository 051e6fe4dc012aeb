"""Bringing what was written to the disk: fsync(2), syncfs(2)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from runtime.errors import KernelError
from runtime.linux import syscalls as linux

FEW = 64
"""Up to so many files and directories are synced one by one; syncfs(2) also writes what others have written."""


def sync_file(path: str | Path) -> None:
    """Return when the content of the file, or the entries of the directory, `path` are on the disk. Gone: nothing to do.

    Raises OSError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_filesystem(path: Path) -> None:
    """Return when everything written to the file system of `path` is on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        linux.call("syncfs", descriptor)
    except KernelError as error:
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    finally:
        os.close(descriptor)


def sync_tree(path: Path) -> None:
    """Return when the tree below `path` is on the disk, so that a rename of it may be confirmed. Raises OSError."""
    few = _few_below(path)
    if few is None:
        sync_filesystem(path)
        return
    for one in few:
        sync_file(one)


def _few_below(path: Path) -> list[str] | None:
    """Return the files and directories of a tree, None when they are many. Links and devices are entries alone."""
    found: list[str] = []
    for folder, _, names in os.walk(path):
        found.append(folder)
        for name in names:
            one = os.path.join(folder, name)
            if stat.S_ISREG(os.lstat(one).st_mode):
                found.append(one)
        if len(found) > FEW:
            return None
    return found
