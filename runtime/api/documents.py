"""Parses JSON documents of clients without blocking the event loop."""

from __future__ import annotations

import json
from json import scanner
from typing import Any

import anyio
import anyio.to_thread

from runtime.errors import BadRequestError
from runtime.shapes import fitted

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


async def parse(data: bytes, shape: Any) -> dict[str, Any]:
    """Parse the JSON object in `data` and check it against `shape` (`runtime.shapes`). Raises BadRequestError."""
    if len(data) <= LARGEST_AT_ONCE:
        return _parsed(data, shape, json.JSONDecoder)
    return await anyio.to_thread.run_sync(_parsed, data, shape, _Interruptible)


def _parsed(data: bytes, shape: Any, decoder: type[json.JSONDecoder]) -> dict[str, Any]:
    try:
        document = json.loads(data, cls=decoder)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"invalid JSON: {error}") from error
    return dict(fitted({} if document is None else document, shape))
