"""How far a step is, in one line: `Pulling 12.3MB/45MB  8MB/s  4s left  2/5 layers`. Pure."""

from __future__ import annotations

from compose.events import StepMeasured
from compose.render.table import size


def measured(doing: str, event: StepMeasured) -> str:
    """Return the line; `doing` says in a word what is done."""
    count = f"{event.done}/{event.total} {event.parts}"
    if not event.total_bytes or event.current_bytes >= event.total_bytes:
        is_moved = event.total_bytes and event.kind == "pull" and event.done < event.total
        return f"{f'Extracting {size(event.total_bytes)}' if is_moved else doing}  {count}"
    parts = [f"{doing} {size(event.current_bytes)}/{size(event.total_bytes)}"]
    if event.trouble:
        parts.append(f"trying again: {event.trouble}")
    elif event.bytes_per_s > 0:
        left_s = (event.total_bytes - event.current_bytes) / event.bytes_per_s
        parts += [f"{size(event.bytes_per_s)}/s", f"{time_left(left_s)} left"]
    return "  ".join([*parts, count])


def time_left(seconds: float) -> str:
    """Return a time to wait in its two largest units: 4s, 2m05s, 1h02m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    return f"{whole // 60}m{whole % 60:02d}s" if whole < 3600 else f"{whole // 3600}h{whole % 3600 // 60:02d}m"
