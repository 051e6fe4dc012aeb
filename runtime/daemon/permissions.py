"""Who may look into an engine's directories: its user alone, and a group where one is named for the socket.

In them are passwords, secrets, logs, volumes and, in layers, set-user-ID programs that anybody could run. The modes of
the two directories at the top keep everybody else out of all that, whatever the modes below are: layers and volumes must
have those that containers are to see.
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
"""Environment variable: the group, by name or number, whose members may use the engine's socket."""
ALONE, WITH_GROUP = 0o700, 0o710
"""A group may pass through, to the socket, and list nothing."""


def socket_group() -> int | None:
    """Return the ID of the group that $SKIFF_GROUP names, None when it names none. Raises SkiffError."""
    name = os.environ.get(GROUP) or ""
    if not name or name.isdigit():
        return int(name) if name else None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise SkiffError(
            f"${GROUP}: there is no group {name!r}", f"make it: groupadd {name}, or name one that there is"
        ) from None


def close_directories(paths: Paths, group: int | None) -> None:
    """Make root and run directory, and let nobody else into them; one that was open is told on standard error.

    Raises OSError.
    """
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
        logger.warning("%s was open to every user of this machine (mode %04o): closed now", directory, mode)


def open_socket(path: Path, group: int | None) -> None:
    """Let `group` use the socket at `path`, which is its user's alone otherwise. Raises OSError."""
    if group is not None:
        os.chown(path, -1, group)
        os.chmod(path, 0o660)
