"""Errors of an engine's start in its directories: which directory is unusable, why, and what to do about it."""

from __future__ import annotations

import errno
import os

from runtime.errors import InternalError, SkiffError
from runtime.paths import Paths
from runtime.space import disk_full_error

ELSEWHERE = "name other directories with --root, or $SKIFF_ROOT and $SKIFF_RUN"
LONGEST_SOCKET_PATH = 107
CURES = {
    errno.EROFS: f"remount that filesystem read-write, or {ELSEWHERE}",
    errno.EACCES: f"give this user write permission, or {ELSEWHERE}",
    errno.EPERM: f"give this user write permission, or {ELSEWHERE}",
    errno.EEXIST: f"move that file away, or {ELSEWHERE}",
    errno.ENOTDIR: f"move that file away, or {ELSEWHERE}",
}


def unusable_error(error: OSError, paths: Paths) -> SkiffError:
    """Return the user-facing error for an OSError at an engine's start in the directories `paths`."""
    full = disk_full_error(error, paths)
    if full is not None:
        return full
    place = error.filename if isinstance(error.filename, str) else str(paths.root)
    reason = error.strerror or str(error)
    if error.errno in (errno.EEXIST, errno.ENOTDIR) and (blocking := _blocking_file(place)):
        place, reason = blocking, "a file is where a directory must be"
    return InternalError(
        f"{place}: {reason}: the engine keeps its state in {paths.root} and its sockets in {paths.run}",
        CURES.get(error.errno or 0, ELSEWHERE),
    )


def check_socket_paths(paths: Paths) -> None:
    """Raise InternalError if the paths of sockets in the run directory are too long for the kernel (unix(7))."""
    longest = max(map(len, map(os.fsencode, (paths.engine_socket, paths.keeper_socket, paths.doorman_socket))))
    if longest > LONGEST_SOCKET_PATH:
        raise InternalError(
            f"{paths.run}: the path is too long: sockets in it would have paths of {longest} bytes, and the limit is "
            f"{LONGEST_SOCKET_PATH}",
            f"name a shorter run directory with $SKIFF_RUN, for the state in {paths.root} ($SKIFF_ROOT)",
        )


def _blocking_file(path: str) -> str:
    """Return the topmost of `path` and its parents that exists and is not a directory; "" if there is none."""
    above = ""
    for part in os.path.abspath(path).split("/")[1:]:
        above = f"{above}/{part}"
        if os.path.lexists(above) and not os.path.isdir(above):
            return above
    return ""
