"""The order in which Go's YAML encoder writes the names of a mapping (go-yaml 3): numbers in them count as such. Pure."""

from __future__ import annotations

from functools import cmp_to_key
from typing import Any

NAMED = frozenset(
    "additional_contexts annotations args configs depends_on driver_opts environment labels models networks options "
    "secrets services storage_opt sysctls ulimits volumes".split()
)
"""Attributes whose mappings have names of the user; others have attributes, whose order is fixed."""


def in_order(value: Any, *, has_names: bool = False) -> Any:
    """Return a copy of a model whose mappings of names are in order; `has_names`: `value` is one of these."""
    if isinstance(value, list):
        return [in_order(child) for child in value]
    if not isinstance(value, dict):
        return value
    if has_names:
        return {key: in_order(value[key]) for key in sorted(value, key=name_order)}
    return {
        key: all_in_order(child) if key.startswith("x-") else in_order(child, has_names=key in NAMED)
        for key, child in value.items()
    }


def all_in_order(value: Any) -> Any:
    """Return a copy of `value` with all mappings in order."""
    if isinstance(value, list):
        return [all_in_order(child) for child in value]
    if not isinstance(value, dict):
        return value
    return {key: all_in_order(value[key]) for key in sorted(value, key=name_order)}


def _compare(one: str, other: str) -> int:
    """Return which of two names comes first: below 0 the one, above 0 the other.

    What counts is the first character in which they differ. Of two letters the smaller one comes first; a letter comes
    after anything else, but before it behind a digit. What are no letters are numbers from there on, compared as such.
    """
    end = min(len(one), len(other))
    at = next((index for index in range(end) if one[index] != other[index]), None)
    if at is None:
        return len(one) - len(other)
    is_letter, other_is = one[at].isalpha(), other[at].isalpha()
    if is_letter and other_is:
        return ord(one[at]) - ord(other[at])
    if is_letter or other_is:
        is_behind_digit = at > 0 and one[at - 1].isdigit()
        return -1 if is_letter == is_behind_digit else 1
    number, other_number = _digits(one, at), _digits(other, at)
    # behind digits of the same number a zero is no leading one
    lead = "1" if "0" in (one[at], other[at]) and _digits_before(one, at).strip("0") else ""
    return (
        int(lead + number or "0") - int(lead + other_number or "0")
        or len(number) - len(other_number)
        or ord(one[at]) - ord(other[at])
    )


def _digits(text: str, at: int) -> str:
    end = at
    while end < len(text) and text[end].isdecimal():
        end += 1
    return text[at:end]


def _digits_before(text: str, at: int) -> str:
    begin = at
    while begin > 0 and text[begin - 1].isdecimal():
        begin -= 1
    return text[begin:at]


name_order = cmp_to_key(_compare)
"""The key by which names are sorted."""
