"""Durations and byte sizes as users write them. Pure.

Every function raises ValueError with a message for the user.
"""

from __future__ import annotations

import re
from typing import Any

UNITS_NS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
    "w": 604800 * 10**9,
}
SIZES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
DURATION_PART = re.compile(r"(?P<whole>[0-9]*)(?:\.(?P<fraction>[0-9]*))?(?P<unit>[^0-9.]+)")
SIZE = re.compile(r"(?P<number>.*[0-9.])? ?(?P<suffix>[^0-9. ]{0,3})")
DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def duration_ns(text: str) -> int:
    """Return a duration such as "1m30s", "1.5h" or "2d" in nanoseconds, fractions cut off as the reference does."""
    body = text[1:] if text[:1] in ("+", "-") else text
    if body == "0":
        return 0
    total, position = 0, 0
    while position < len(body):
        match = DURATION_PART.match(body, position)
        unit = UNITS_NS.get(match["unit"]) if match else None
        if match is None or unit is None or not (match["whole"] or match["fraction"]):
            raise ValueError(f'"{text}" is not a duration: write it as 10s, 1m30s or 500ms')
        fraction = match["fraction"] or ""
        total += int(match["whole"] or 0) * unit
        total += int(float(int(fraction or 0)) * (float(unit) / 10 ** len(fraction)))
        position = match.end()
    if not body:
        raise ValueError("a duration is empty: write it as 10s, 1m30s or 500ms")
    if total >= 1 << 63:
        raise ValueError(f'"{text}" is longer than 292 years')
    return -total if text[0] == "-" else total


def duration_text(nanoseconds: int) -> str:
    """Return a duration as the reference writes it: "1m30s", "1h0m0s", "500ms"."""
    if nanoseconds == 0:
        return "0s"
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if rest < 10**9:
        for unit, size in (("ms", 10**6), ("µs", 10**3), ("ns", 1)):
            if rest >= size:
                return f"{sign}{_decimal(rest, size)}{unit}"
    minutes, below = divmod(rest, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(below, 10**9)}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{text}"
    return f"{sign}{minutes}m{text}" if minutes else sign + text


def _decimal(value: int, size: int) -> str:
    whole, part = divmod(value, size)
    return f"{whole}.{str(part + size)[1:].rstrip('0')}" if part else str(whole)


def size_bytes(value: Any) -> int:
    """Return a byte size such as 1024, "512m" or "1.5 GiB" in bytes; units are powers of 1024."""
    if isinstance(value, int):
        return value
    text = value if isinstance(value, str) else ""
    match = SIZE.fullmatch(text)
    number = decimal(match["number"] or "") if match else None
    suffix = match["suffix"].lower() if match else ""
    factor = 1 if suffix in ("", "b") else SIZES.get(suffix[0]) if suffix[1:] in ("", "b", "ib") else None
    if number is None or number < 0 or factor is None:
        raise ValueError(f'"{value}" is not a size: write it as 512m, 1.5g or a number of bytes')
    return int(number * factor)


def decimal(text: str) -> float | None:
    """Return the finite number that a text writes in decimal, None where it writes none."""
    return float(text) if DECIMAL.fullmatch(text) else None


def ordinal(number: int) -> str:
    """Return "1st", "2nd", "3rd", "4th" …"""
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"
