"""chown(2) in user namespaces, where owners may not be mapped (user_namespaces(7))."""

from __future__ import annotations

import errno
import os

from runtime.errors import SkiffError
from runtime.linux import userns


def chown(where: str | int, uid: int, gid: int) -> None:
    """Set owner and group of a file: a path, of which a symbolic link is not followed, or a descriptor.

    In a user namespace with a single user, an unmapped owner is ignored: all files belong to root. Else, raises
    SkiffError for an unmapped owner. Raises OSError.
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
                f"a file belongs to user {uid}, group {gid}, which the engine's user namespace does not map: {where}",
                "give this user wider ranges in /etc/subuid and /etc/subgid, and restart its engine",
            ) from error
