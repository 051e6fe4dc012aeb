"""Trying again what a registry failed at once: after pauses that grow, or after the one that it asks for."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

import anyio

from runtime.image.registry_http import TransferError

T = TypeVar("T")
ATTEMPTS = 5
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 60.0
"""Who asks for more is not waited for: that is for a user to decide."""


def pause_wanted(header: str, now_s: float | None = None) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110, section 10.2.3), None where it says nothing."""
    if header.strip().isdigit():
        return float(header)
    try:
        moment = parsedate_to_datetime(header).timestamp()
    except (TypeError, ValueError):
        return None
    return max(0.0, moment - (time.time() if now_s is None else now_s))


def pause_after(error: TransferError, attempt: int) -> float | None:
    """Return how long to wait after the failed `attempt` (from 1), None when there is no further one."""
    pause_s = FIRST_PAUSE_S * 2**attempt if error.pause_s is None else error.pause_s
    return None if attempt >= ATTEMPTS or pause_s > LONGEST_PAUSE_S else pause_s


async def tried_again(work: Callable[[], Awaitable[T]]) -> T:
    """Do `work`, again where it fails in a way that may pass. Raises TransferError in the end.

    Where there was no connection at all it is not tried again: the name is wrong, most likely.
    """
    attempt = 1
    while True:
        try:
            return await work()
        except TransferError as error:
            pause_s = None if error.is_unreachable else pause_after(error, attempt)
            if pause_s is None:
                raise
            await anyio.sleep(pause_s)
            attempt += 1
