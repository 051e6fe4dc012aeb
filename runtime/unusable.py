"""Directories in which no engine can live: which, why, and what to do about it."""

from __future__ import annotations

import errno
import os

from runtime.errors import InternalError, SkiffError
from runtime.paths import Paths
from runtime.space import disk_full_error

ELSEWHERE = "name other directories with --root, or $SKIFF_ROOT and $SKIFF_RUN"
CURES = {
    errno.EROFS: f"mount that filesystem to be written to, or {ELSEWHERE}",
    errno.EACCES: f"let this user write there, or {ELSEWHERE}",
    errno.EPERM: f"let this user write there, or {ELSEWHERE}",
    errno.EEXIST: f"move that file away, or {ELSEWHERE}",
    errno.ENOTDIR: f"move that file away, or {ELSEWHERE}",
}


def unusable_error(error: OSError, paths: Paths) -> SkiffError:
    """Return what an error of an engine's start in its directories `paths` means to users."""
    full = disk_full_error(error, paths)
    if full is not None:
        return full
    place = error.filename if isinstance(error.filename, str) else str(paths.root)
    reason = error.strerror or str(error)
    if error.errno in (errno.EEXIST, errno.ENOTDIR) and (blocking := _blocking_file(place)):
        place, reason = blocking, "there is a file where a directory is to be"
    return InternalError(
        f"{place}: {reason}: the engine keeps its state in {paths.root} and its sockets in {paths.run}",
        CURES.get(error.errno or 0, ELSEWHERE),
    )


def _blocking_file(path: str) -> str:
    """Return what is no directory among `path` and those above it, the topmost first; "" when there is none."""
    above = ""
    for part in os.path.abspath(path).split("/")[1:]:
        above = f"{above}/{part}"
        if os.path.lexists(above) and not os.path.isdir(above):
            return above
    return ""
