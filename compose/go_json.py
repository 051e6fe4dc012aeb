"""JSON as Go's encoder writes it (encoding/json, Marshal): what docker compose hashes and prints. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any

ESCAPED = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})
MIN_PLAIN, MIN_LARGE = 1e-6, 1e21
"""From where to where Go writes numbers without an exponent (encoding/json, floatEncoder)."""


def go_json(value: Any) -> str:
    """Return JSON as Go's encoder writes it: no blanks, what HTML cares for escaped, numbers in its own way."""
    # at once: these characters occur in strings only
    return _encoded(value).translate(ESCAPED)


def _encoded(value: Any) -> str:
    # by type instead of isinstance, the most frequent first: a thousand services have a hundred thousand values
    kind = type(value)
    if kind is str:
        return encode_basestring(value)
    if kind is dict:
        return (
            "{" + ",".join([f"{encode_basestring(str(key))}:{_encoded(child)}" for key, child in value.items()]) + "}"
        )
    if kind is list or kind is tuple:
        return "[" + ",".join([_encoded(child) for child in value]) + "]"
    if isinstance(value, Mapping):
        return _encoded(dict(value))
    if value is None or kind is bool:
        return json.dumps(value)
    # lists of containers and progress have whole numbers alone: they need none of what fractions do
    return str(value) if kind is int and abs(value) < MIN_LARGE else _number(value)


def _number(value: float) -> str:
    # few models have fractions, and the module takes as long to import as all of theirs to hash
    from decimal import Decimal

    size = abs(value)
    if size == 0 or MIN_PLAIN <= size < MIN_LARGE:
        text = format(Decimal(repr(value)), "f")
        return text.removesuffix(".0")
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    power = len(digits) - 1 + int(exponent)
    mantissa = f"{digits[0]}.{''.join(map(str, digits[1:]))}".rstrip(".")
    return f"{'-' if sign else ''}{mantissa}e{power:+d}"
