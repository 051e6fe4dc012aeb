"""Parses JSON documents of clients without blocking the event loop."""

from __future__ import annotations

import json
from json import scanner
from typing import TypeVar, cast

import anyio
import anyio.to_thread

from runtime.errors import BadRequestError
from runtime.shapes import fitted, shape_of

T = TypeVar("T")
LARGEST_BYTES = 2 << 20
"""Limit of a document: the maximum of a container's environment and arguments (execve(2), "Limits on size of arguments": a
quarter of the usual stack limit); 10,000 published ports take a third of it. dockerd has no limit."""
LARGEST_AT_ONCE = 64 << 10
"""Up to this size a document is parsed within a millisecond, in the event loop."""


class _Interruptible(json.JSONDecoder):
    """Decodes with the scanner written in Python: that in C would hold the GIL until it is done."""

    def __init__(self) -> None:
        super().__init__()
        self.scan_once = scanner.py_make_scanner(self)  # type: ignore[attr-defined]


async def parse(data: bytes, kind: type[T]) -> T:
    """Parse the JSON object in `data` and check that it is a `kind` (`runtime.bodies`). Raises BadRequestError."""
    if len(data) <= LARGEST_AT_ONCE:
        return _parsed(data, kind, json.JSONDecoder)
    return await anyio.to_thread.run_sync(_parsed, data, kind, _Interruptible)


def _parsed(data: bytes, kind: type[T], decoder: type[json.JSONDecoder]) -> T:
    try:
        document = json.loads(data, cls=decoder)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"invalid JSON: {error}") from error
    return cast(T, fitted({} if document is None else document, shape_of(cast(type, kind))))
