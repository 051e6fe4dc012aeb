"""What an engine that was killed had begun to make, told by its marked record: finished or removed, told to nobody."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from runtime.store.layout import Layout
from runtime.store.record import NEW
from runtime.trash import Trash


def clear_half_made(layout: Layout, trash: Trash) -> None:
    """Remove the objects of a kind whose record is still marked; a volume that holds data already is finished instead."""
    for entry in list(os.scandir(layout.folder)):
        if not layout.record:
            if entry.name.startswith(NEW):
                os.unlink(entry.path)
            continue
        place = Path(entry.path)
        marked = place / f"{NEW}{layout.record}"
        if not entry.is_dir(follow_symlinks=False):
            continue
        if not any(os.scandir(place)):
            place.rmdir()
        elif not os.path.lexists(marked):
            continue
        elif (place / layout.record).exists():
            marked.unlink()
        elif layout.kind == "volume" and _has_data(place / "_data"):
            os.rename(marked, place / layout.record)
        else:
            trash.throw(place)


def _has_data(data: Path) -> bool:
    with suppress(OSError):
        return any(os.scandir(data))
    return False
