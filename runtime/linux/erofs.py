"""Mounts of EROFS images in files, with a second file as their data (kernel Documentation/filesystems/erofs.rst)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.linux import syscalls as linux
from runtime.linux.filesystem import new_filesystem, short


def mount_image(image: Path, data: Path, target: Path) -> None:
    """Mount the EROFS `image`, whose files' content lies in `data`, at the directory `target`, read-only.

    Raises KernelError: before Linux 6.12 an image must be on a block device (ENOTBLK), in a user namespace it can't be
    mounted at all (EPERM), on some filesystems neither.
    """
    with made_mount(image, data) as mounted:
        linux.call("move_mount", mounted, b"", linux.AT_FDCWD, os.fsencode(target), linux.MOVE_MOUNT_F_EMPTY_PATH)


@contextmanager
def made_mount(image: Path, data: Path) -> Iterator[int]:
    """Make the mount, as `mount_image`, and give its descriptor; it goes with that unless it is moved to a place."""
    opened: list[int] = []
    try:
        options = [("source", short(str(image), opened)), ("device", short(str(data), opened)), ("ro", None)]
        opened.append(new_filesystem("erofs", options))
        yield opened[-1]
    finally:
        for descriptor in opened:
            os.close(descriptor)


def is_mounted(directory: Path) -> bool:
    """Return whether something is mounted at `directory`: it is on another filesystem than the directory above it."""
    return directory.stat().st_dev != directory.parent.stat().st_dev
