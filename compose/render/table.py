"""Aligned tables, times and sizes for people."""

from __future__ import annotations

import time
from collections.abc import Sequence

MINUTE_S, HOUR_S = 60, 3600


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows under titles, columns aligned, three blanks between them."""
    widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(titles))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (titles, *rows)
    )


def ago(unix_s: float) -> str:
    """Return how long ago a moment was, in Docker's words."""
    seconds = max(0.0, time.time() - unix_s)
    if seconds < 1:
        return "Less than a second ago"
    whole, hours = int(seconds), int(seconds / HOUR_S + 0.5)
    if whole < MINUTE_S:
        return f"{_count(whole, 'second')} ago"
    if whole < HOUR_S:
        return "About a minute ago" if whole < 2 * MINUTE_S else f"{whole // MINUTE_S} minutes ago"
    if hours == 1:
        return "About an hour ago"
    days = hours // 24
    for below, size, unit in ((2, 1, "hour"), (14, 1, "day"), (60, 7, "week"), (2 * 365, 30, "month")):
        if days < below:
            return f"{_count(hours if unit == 'hour' else days // size, unit)} ago"
    return f"{days // 365} years ago"


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}{'' if number == 1 else 's'}"


def size(bytes_: float) -> str:
    """Return a size in decimal units."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if bytes_ < 1000 or unit == "TB":
            return f"{bytes_:.3g}{unit}"
        bytes_ /= 1000
    return ""
