"""JSON documents of clients, parsed where they keep nobody else waiting."""

from __future__ import annotations

import json
from json import scanner
from typing import Any

import anyio
import anyio.to_thread

from runtime.api.shapes import fitted
from runtime.errors import BadRequestError

LARGEST_BYTES = 2 << 20
"""What a container's environment and arguments together may have (execve(2), "Limits on size of arguments": a quarter
of the usual limit of the stack); the 10,000 published ports of one container take a third of it. dockerd sets no bound:
a body of 64 MiB keeps it busy, and its memory taken, for as long as it lasts."""
LARGEST_AT_ONCE = 64 << 10
"""What is parsed within a millisecond."""


class _Interruptible(json.JSONDecoder):
    """Decodes with the scanner that is written in Python: the one in C would hold the interpreter's lock to the end."""

    def __init__(self) -> None:
        super().__init__()
        self.scan_once = scanner.py_make_scanner(self)  # type: ignore[attr-defined]


async def parse(data: bytes, shape: Any) -> dict[str, Any]:
    """Return the JSON object in `data`, fitted to `shape` (`runtime.api.shapes`). Raises BadRequestError."""
    if len(data) <= LARGEST_AT_ONCE:
        return _parsed(data, shape, json.JSONDecoder)
    return await anyio.to_thread.run_sync(_parsed, data, shape, _Interruptible)


def _parsed(data: bytes, shape: Any, decoder: type[json.JSONDecoder]) -> dict[str, Any]:
    try:
        document = json.loads(data, cls=decoder)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"invalid JSON: {error}") from error
    return dict(fitted({} if document is None else document, shape))
