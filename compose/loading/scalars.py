"""What a scalar of YAML stands for, as go-yaml has it: YAML 1.2 with octals, underscores and dates of 1.1. Pure."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
INTEGER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
FLOAT = re.compile(r"[+-]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][+-]?[0-9]+)?")
DATE = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})(?:"
    r"[Tt]([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})"
    r"| ([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(\.[0-9]+)?)?"
)
MAXIMUM_DIGITS = 100
"""Longer numbers than this fit into no integer."""


class Timestamp(NamedTuple):
    """A date, which no attribute of a Compose file takes: as it is written, and in the form of RFC 3339."""

    text: str
    rfc3339: str

    def __str__(self) -> str:
        return self.text


def resolve(text: str) -> Any:
    """Return the value that a plain scalar stands for: text, a number, a truth value, a Timestamp, or None."""
    if text in WORDS:
        return WORDS[text]
    first = text[0]
    if first == ".":
        return _float(text)
    if first not in "0123456789+-":
        return text
    if text[4:5] == "-" and (date := _date(text)) is not None:
        return date
    digits = text.replace("_", "")
    if len(digits) <= MAXIMUM_DIGITS and INTEGER.fullmatch(digits):
        value = _integer(digits)
        if -(1 << 63) <= value < 1 << 64:
            return value
    number = _float(digits)
    return text if number is digits else number


def tagged(kind: str, text: str) -> Any:
    """Return the value of a scalar with the tag `!!kind`; raises ValueError where it can't be one."""
    if kind == "str":
        return text
    if kind == "binary":
        import base64

        return base64.b64decode("".join(text.split()), validate=True).decode()
    value = resolve(text)
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    names: dict[type, str] = {type(None): "null", bool: "bool", int: "int", float: "float", Timestamp: "timestamp"}
    if kind not in names.values():
        return text
    if names.get(type(value)) != kind:
        raise ValueError(f"{text} is not of type {kind}")
    return value


def _integer(digits: str) -> int:
    sign = -1 if digits[0] == "-" else 1
    body = digits.lstrip("+-").lower()
    base = {"0x": 16, "0b": 2, "0o": 8}.get(body[:2], 8 if body[0] == "0" else 10)
    return sign * int(body, base)


def _float(text: str) -> Any:
    """Return the finite number that `text` writes, `text` itself where it writes none."""
    if not FLOAT.fullmatch(text):
        return text
    value = float(text)
    return text if value in (float("inf"), float("-inf")) else value


def _date(text: str) -> Timestamp | None:
    match = DATE.fullmatch(text)
    if match is None:
        return None
    year, month, day, *with_zone = match.groups()
    hour, minute, second, fraction = with_zone[:4] if with_zone[0] else with_zone[5:]
    import datetime

    try:
        time = datetime.time(int(hour or 0), int(minute or 0), int(second or 0))
        moment = datetime.datetime.combine(datetime.date(int(year), int(month), int(day)), time)
    except ValueError:
        return None
    part = (fraction or "").rstrip("0").rstrip(".")
    return Timestamp(text, f"{moment.isoformat()}{part}{with_zone[4] or 'Z'}")
