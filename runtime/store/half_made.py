"""What an engine that was killed, or lost its power, had begun to make: known by a mark, and removed, told to nobody."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from runtime.store import record
from runtime.store.layout import Layout
from runtime.store.record import NEW, mark_of
from runtime.trash import Trash


def clear_half_made(layout: Layout, trash: Trash) -> None:
    """Remove the objects of a kind that are marked and whose record says nothing; only a volume that holds data stays.

    One whose record can be read is whole; its mark was only not removed yet. Of a volume the directory of its data may
    still be missing: it is made after the record, as a directory without a record counts as a volume.
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
