"""Aligned tables, times and sizes for people."""

from __future__ import annotations

import time
from collections.abc import Sequence


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows under titles, columns aligned, three blanks between them."""
    widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(titles))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (titles, *rows)
    )


def ago(unix_s: float) -> str:
    """Return how long ago a moment was, in words."""
    seconds = max(0, int(time.time() - unix_s))
    for size, unit in ((60, "second"), (60, "minute"), (24, "hour"), (7, "day"), (10**9, "week")):
        if seconds < size:
            return f"{seconds} {unit}{'' if seconds == 1 else 's'} ago"
        seconds //= size
    return ""


def size(bytes_: float) -> str:
    """Return a size in decimal units."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if bytes_ < 1000 or unit == "TB":
            return f"{bytes_:.3g}{unit}"
        bytes_ /= 1000
    return ""


def ports(listed: Sequence[dict[str, object]]) -> str:
    """Return the ports of a container list row as docker compose shows them."""
    found = []
    for port in listed:
        private = f"{port['PrivatePort']}/{port['Type']}"
        found.append(f"{port['IP']}:{port['PublicPort']}->{private}" if port.get("PublicPort") else private)
    return ", ".join(sorted(dict.fromkeys(found)))
