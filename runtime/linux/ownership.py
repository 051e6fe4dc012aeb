"""Owners of files, where a user namespace may not have them (user_namespaces(7))."""

from __future__ import annotations

import errno
import os

from runtime.errors import SkiffError
from runtime.linux import userns


def chown(where: str | int, uid: int, gid: int) -> None:
    """Give a file (a path, of which a last link is not followed, or a descriptor) its owner and group.

    In a user namespace of one user every file is root's, and stays so. Raises SkiffError on an owner that a namespace
    of more users lacks, OSError.
    """
    try:
        if isinstance(where, int):
            os.fchown(where, uid, gid)
        else:
            os.chown(where, uid, gid, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.EINVAL or userns.is_initial():
            raise
        if not userns.has_one_user():
            raise SkiffError(
                f"a file belongs to user {uid}, group {gid}, and the engine's user namespace has no such: {where}",
                "give this user wider ranges in /etc/subuid and /etc/subgid, and restart its engine",
            ) from error
