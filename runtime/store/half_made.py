"""Removes incomplete objects, which an engine was creating when it was killed or lost power; a mark identifies them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from runtime.store import record
from runtime.store.layout import Layout
from runtime.store.record import NEW, mark_of
from runtime.trash import Trash


def clear_half_made(layout: Layout, trash: Trash) -> None:
    """Remove the objects of a kind that have a mark and no readable record, except volumes with data.

    An object with a readable record is complete, only its mark was not removed yet. A volume's data directory may be
    missing, since it is created after the record, and is created here.
    """
    for entry in list(os.scandir(layout.folder)):
        path = Path(entry.path)
        if not layout.record:
            if entry.name.startswith(NEW):
                _clear_record(path.with_name(entry.name.removeprefix(NEW)))
        elif entry.is_dir(follow_symlinks=False):
            _clear_directory(path, layout, trash)


def _clear_record(path: Path) -> None:
    if record.read(path).document is None:
        path.unlink(missing_ok=True)
    mark_of(path).unlink()


def _clear_directory(place: Path, layout: Layout, trash: Trash) -> None:
    path = place / layout.record
    if not any(os.scandir(place)):
        place.rmdir()
    elif not os.path.lexists(mark_of(path)):
        return
    elif record.read(path).document is not None or (layout.kind == "volume" and _has_data(place / "_data")):
        if layout.kind == "volume":
            (place / "_data").mkdir(exist_ok=True)
        mark_of(path).unlink()
    else:
        trash.throw(place)


def _has_data(data: Path) -> bool:
    with suppress(OSError):
        return any(os.scandir(data))
    return False
