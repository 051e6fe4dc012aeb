"""What an engine that exits because it is idle leaves for the next one.

dockerd always runs: "always" starts a container again that its user has stopped only when the machine or dockerd was
restarted. An engine that exits by itself and is back for the next client must not count as that.
"""

from __future__ import annotations

from contextlib import suppress

from runtime.keeper.records import boot_id
from runtime.paths import Paths


def leave_mark(paths: Paths) -> None:
    """Note that this engine exits because it is idle."""
    with suppress(OSError):  # then containers are started again, as after a crash
        paths.idle_mark.write_text(boot_id())


def take_mark(paths: Paths) -> bool:
    """Return whether the last engine exited because it was idle, since the machine's start; the mark is removed."""
    try:
        found = paths.idle_mark.read_text(errors="replace")
        paths.idle_mark.unlink()
    except OSError:
        return False
    return found == boot_id()
