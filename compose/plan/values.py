"""Durations and sizes as the canonical model writes them. Pure."""

from __future__ import annotations

from typing import Any

from compose import units


def duration_ns(value: Any) -> int:
    """Return a duration ("1m30s", a number of nanoseconds) in nanoseconds; 0 for none. Raises ValueError."""
    if value in (None, ""):
        return 0
    return int(value) if isinstance(value, int | float) else units.duration_ns(str(value))


def whole(value: Any) -> int:
    """Return a canonical size or count ("134217728") as a number; 0 for none."""
    return int(float(value)) if value not in (None, "") else 0


def nano_cpus(value: Any) -> int:
    """Return a number of CPUs ("0.5") in billionths."""
    return int(float(value) * 1e9) if value not in (None, "") else 0
