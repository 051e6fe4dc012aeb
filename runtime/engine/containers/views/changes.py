"""`docker diff`: a container's changes, read from the overlay's upper directory (kernel overlayfs documentation)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.image.unpack import is_opaque

MODIFIED, ADDED, DELETED = 0, 1, 2
"""The Docker Engine API's numbers."""

RUNTIME_PATHS = ("/dev", "/proc", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
"""Mount points of the runtime, which are not changes of the container."""


@dataclass(frozen=True)
class Change:
    """A changed `path` and the kind of change."""

    path: str
    kind: int


def changes(upper: Path, layers: Sequence[Path]) -> list[Change]:
    """Return the changes in `upper` over `layers` (topmost first), sorted by path. Blocking.

    What was made to mount something there is one, as in Docker.
    """
    return list(_of_directory(str(upper), "", layers, frozenset(RUNTIME_PATHS)))


def is_of_runtime(path: str, mounted: Sequence[str] = ()) -> bool:
    """Whether `path` in the upper directory exists only as a mount point."""
    return path in RUNTIME_PATHS or path in mounted or path.startswith(("/dev/", "/proc/", "/sys/"))


def _of_directory(directory: str, path: str, layers: Sequence[Path], hidden: frozenset[str]) -> Iterator[Change]:
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError:  # removed in between: the container may be running
        return
    hides = is_opaque(directory)
    for entry in entries:
        inner = f"{path}/{entry.name}"
        if inner in hidden:
            continue
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        below = None if hides else _below(layers, inner)
        if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
            yield Change(inner, DELETED)
        elif stat.S_ISDIR(found.st_mode):
            under = layers if below is not None and stat.S_ISDIR(below.st_mode) else ()
            within = list(_of_directory(entry.path, inner, under, hidden))
            if below is None:
                leads_to_mount = any(one.startswith(f"{inner}/") for one in hidden)
                if within or not leads_to_mount:
                    yield Change(inner, ADDED)
            elif within or _attributes(below) != _attributes(found):
                yield Change(inner, MODIFIED)
            yield from within
        else:
            yield Change(inner, ADDED if below is None else MODIFIED)


def _attributes(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_mode, found.st_uid, found.st_gid


def _below(layers: Sequence[Path], path: str) -> os.stat_result | None:
    """Return the stat of `path` in the layers, None if it does not exist there or was deleted (whiteout)."""
    for layer in layers:
        place = str(layer)
        for part in path.strip("/").split("/"):
            hides_below = place != str(layer) and is_opaque(place)
            place = f"{place}/{part}"
            try:
                found = os.lstat(place)
            except OSError:
                if hides_below:
                    return None
                break
            if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
                return None
        else:
            return found
    return None
