"""What a copied layer takes from the layers below it: where that is the same, so is the layer (COPY --link).

A layer is not made from nothing, as other builders have it: links that lead to the destination are followed, and
directories that are there keep what they are.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable

from runtime.build.tree import Entry, Tree
from runtime.build.writer import xattrs_of

Fact = list[object]


def foundation(tree: Tree, destinations: Iterable[str]) -> list[Fact]:
    """Return what `tree` has at `destinations` and above them, as JSON values in a fixed order.

    Raises BadRequestError for links that lead in a circle.
    """
    facts: dict[str, Fact] = {}
    pending = sorted({path for destination in destinations for path in _with_parents(destination)})
    while pending:
        path = pending.pop()
        if path in facts:
            continue
        entry = tree.find(path, follow=False)
        facts[path] = _fact(entry)
        if entry is not None and entry.is_link:
            pending += _with_parents(posixpath.join(posixpath.dirname(entry.path), os.readlink(entry.location)))
    return [[path, *facts[path]] for path in sorted(facts)]


def _with_parents(path: str) -> list[str]:
    path = posixpath.normpath("/" + path.lstrip("/"))
    found = []
    while path != "/":
        found.append(path)
        path = posixpath.dirname(path)
    return found


def _fact(entry: Entry | None) -> Fact:
    if entry is None:
        return []
    if entry.is_link:
        return ["link", os.readlink(entry.location)]
    if not entry.is_directory:
        return ["file"]
    info = entry.info
    xattrs = {name: value.hex() for name, value in xattrs_of(entry.location).items()}
    return ["directory", stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_mtime_ns, xattrs]
