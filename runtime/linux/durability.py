"""Flushing written data to the disk: fsync(2), syncfs(2)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from runtime.errors import KernelError
from runtime.linux import syscalls as linux

FEW = 64
"""Up to this number of files and directories, each is synced: syncfs(2) also flushes data of other processes."""


def sync_file(path: str | Path) -> None:
    """Flush the file or directory `path` to the disk; a missing one is not an error.

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
    """Flush the file system of `path` to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        linux.call("syncfs", descriptor)
    except KernelError as error:
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    finally:
        os.close(descriptor)


def sync_tree(path: Path) -> None:
    """Flush the tree `path` to the disk, so that it can be renamed into place. Raises OSError."""
    few = _few_below(path)
    if few is None:
        sync_filesystem(path)
        return
    for one in few:
        sync_file(one)


def _few_below(path: Path) -> list[str] | None:
    """Return the files and directories of a tree, None if they are many. Links and devices have no data to sync."""
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
