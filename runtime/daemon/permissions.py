"""Permissions of the engine's directories: only for its user, and optionally a group for the socket.

They contain passwords, secrets, logs, volumes and, in layers, set-user-ID programs that anybody could run. The modes of
state root and run directory keep other users out of all that, whatever the modes below: files in layers and volumes must
have the modes that containers expect.
"""

from __future__ import annotations

import grp
import logging
import os
import stat
from pathlib import Path

from runtime.errors import SkiffError
from runtime.paths import Paths

logger = logging.getLogger(__name__)

GROUP = "SKIFF_GROUP"
"""Environment variable with the group, by name or ID, whose members may use the engine's socket."""
ALONE, WITH_GROUP = 0o700, 0o710
"""The group may traverse the directories to the socket, but not list them."""


def socket_group() -> int | None:
    """Return the GID of $SKIFF_GROUP, None if it is not set. Raises SkiffError."""
    name = os.environ.get(GROUP) or ""
    if not name or name.isdigit():
        return int(name) if name else None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise SkiffError(
            f"${GROUP}: there is no group {name!r}", f"create it: `groupadd {name}`, or use an existing one"
        ) from None


def close_directories(paths: Paths, group: int | None) -> None:
    """Create state root and run directory with closed permissions; log if one was open to others. Raises OSError."""
    for directory in (paths.root, paths.run):
        leads_to_socket = directory == paths.run or directory in paths.run.parents
        _close(directory, group if leads_to_socket else None)


def _close(directory: Path, group: int | None) -> None:
    wanted = ALONE if group is None else WITH_GROUP
    directory.mkdir(parents=True, exist_ok=True, mode=wanted)
    found = directory.stat()
    if group is not None and found.st_gid != group:
        os.chown(directory, -1, group)
    mode = stat.S_IMODE(found.st_mode)
    if mode != wanted:
        os.chmod(directory, wanted)
    if mode & 0o007 and any(directory.iterdir()):
        logger.warning("%s was accessible to all users (mode %04o), and is closed now", directory, mode)


def open_socket(path: Path, group: int | None) -> None:
    """Give `group`, if not None, access to the socket at `path`. Raises OSError."""
    if group is not None:
        os.chown(path, -1, group)
        os.chmod(path, 0o660)
