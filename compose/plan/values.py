"""Durations and sizes as the canonical model writes them. Pure."""

from __future__ import annotations

from typing import Any

UNITS_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def duration_ns(value: Any) -> int:
    """Return a duration ("1m30s", "1.5s", a number of nanoseconds) in nanoseconds; 0 for none."""
    if value in (None, ""):
        return 0
    if isinstance(value, int | float):
        return int(value)
    total, number, unit = 0.0, "", ""
    for character in f"{value} ":
        if unit and (character.isdigit() or character in ". "):
            total += float(number) * UNITS_NS[unit]
            number, unit = "", ""
        if character.isdigit() or character == ".":
            number += character
        elif character != " ":
            unit += character
    return int(total)


def whole(value: Any) -> int:
    """Return a canonical size or count ("134217728") as a number; 0 for none."""
    return int(float(value)) if value not in (None, "") else 0


def nano_cpus(value: Any) -> int:
    """Return a number of CPUs ("0.5") in billionths."""
    return int(float(value) * 1e9) if value not in (None, "") else 0
