"""What is mounted below a root in the mount namespace that a container shares with its caller."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection

from runtime.errors import KernelError
from runtime.linux import mountinfo
from runtime.linux import syscalls as linux
from runtime.oci.root import Root


def mounts_below(path: str) -> dict[int, str]:
    """Return the paths of the mounts below the directory `path` by their IDs, in the order of mounting."""
    top = os.path.realpath(path).rstrip("/")
    return {one.number: one.point for one in mountinfo.own_mounts() if one.point.startswith(f"{top}/")}


def unmount(path: str, before: Collection[int]) -> None:
    """Unmount what is mounted below the root at `path`, last first, but for the mounts with the IDs `before`.

    No link is followed: what runs there, or writes there from elsewhere, may exchange directories for links.
    """
    root = Root(path)
    for number, point in reversed(mounts_below(path).items()):
        if number in before:
            continue
        try:
            target = root.open(point.removeprefix(root.path), os.O_PATH, linux.RESOLVE_NO_SYMLINKS)
        except KernelError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
                raise
            continue  # covered, or gone with the one above
        try:
            linux.umount2(f"/proc/self/fd/{target}", linux.MNT_DETACH)
        finally:
            os.close(target)
    os.close(root.descriptor)
