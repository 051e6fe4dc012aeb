"""The types of JSON documents in requests and records, and the check of a document against them. Pure.

A shape is a class (`str`, `int`, `bool`, `float`), a list with the shape of its items, a dict of members by name, or a
dict with `str` as its only key for arbitrary names. Unknown members are not checked. null means "not given": such members
are removed. Names of members are case-insensitive, as in Docker.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

from runtime.bodies import Words
from runtime.errors import BadRequestError

KINDS: Mapping[type, str] = {str: "a string", int: "a whole number", bool: "true or false", float: "a number"}
WORDS = get_args(Words)[1]
LARGEST = 1 << 63
Shape = Any
UNUSABLE = re.compile("[\0\ud800-\udfff]")
"""NUL, which ends a string in the kernel, and single surrogates, which have no encoding."""


@cache
def shape_of(kind: Any) -> Shape:
    """Return the shape of a TypedDict (`runtime.bodies`)."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: _shape(hint) for name, hint in hints.items()}


def _shape(hint: Any) -> Shape:
    if hint == Words:
        return WORDS
    if get_origin(hint) is list:
        return [_shape(get_args(hint)[0])]
    if get_origin(hint) is dict:
        return {str: _shape(get_args(hint)[1])}
    return shape_of(hint) if is_typeddict(hint) else hint


def fitted(document: Any, shape: Any, place: str = "") -> Any:
    """Check `document` against `shape`; return it with strings for WORDS as arrays, without nulls. Raises BadRequestError."""
    if document is None:
        return None
    if shape is WORDS:
        return fitted([document] if isinstance(document, str) else document, [str], place)
    if isinstance(shape, list):
        if not isinstance(document, list):
            raise _misfit(document, "an array", place)
        return [fitted(one, shape[0], f"{place}[{number}]") for number, one in enumerate(document) if one is not None]
    if isinstance(shape, dict):
        if not isinstance(document, dict):
            raise _misfit(document, "an object", place)
        if str in shape:
            return {key: fitted(value, shape[str], _inner(place, key)) for key, value in document.items()}
        names = {str(name).lower(): str(name) for name in shape}
        found: dict[str, Any] = {}
        for key, value in document.items():
            name = str(key if key in shape else names.get(key.lower(), key))
            if name not in shape:
                found[name] = value
            elif value is not None:
                found[name] = fitted(value, shape[name], _inner(place, name))
        return found
    is_kind = isinstance(document, int | float) if shape is float else isinstance(document, shape)
    if not is_kind or (isinstance(document, bool) and shape is not bool):
        raise _misfit(document, KINDS[shape], place)
    if shape is int and not -LARGEST <= document < LARGEST:
        raise BadRequestError(f"invalid JSON: {place} is out of range: {document}")
    if shape is str and ("\0" in document or not document.isascii()) and (match := UNUSABLE.search(document)):
        raise BadRequestError(f"invalid JSON: {place} contains the invalid character {match[0]!r}")
    return document


def _inner(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _misfit(document: Any, wanted: str, place: str) -> BadRequestError:
    names = {
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        list: "an array",
        dict: "an object",
    }
    return BadRequestError(f"invalid JSON: {place or 'the body'} must be {wanted}, not {names[type(document)]}")
