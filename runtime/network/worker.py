"""The one thread in which kernel work of the network room is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

T = TypeVar("T")


class Worker:
    """Runs blocking kernel work, one piece at a time, never cut short halfway."""

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(1)

    async def run(self, action: Callable[[], T]) -> T:
        """Return what `action` does in a thread of its own; a cancellation waits for its end."""
        with anyio.CancelScope(shield=True):
            result = await anyio.to_thread.run_sync(action, limiter=self._limiter)
        return result  # noqa: RET504 (to mypy a scope may swallow what is raised in it)
