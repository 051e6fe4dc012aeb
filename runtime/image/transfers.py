"""Transfers side by side: those of one image end together, those of the same blob wait for each other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc


class Transfers:
    """The blobs that are on their way."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[anyio.Lock, int]] = {}

    @asynccontextmanager
    async def alone(self, digest: str) -> AsyncIterator[None]:
        """Wait until nobody else transfers the blob `digest`, and hold others off until the block ends."""
        lock, waiting = self._locks.get(digest) or (anyio.Lock(), 0)
        self._locks[digest] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._locks.pop(digest)
            if waiting > 1:
                self._locks[digest] = (lock, waiting - 1)


@asynccontextmanager
async def together() -> AsyncIterator[anyio.abc.TaskGroup]:
    """Give a task group whose first error is raised as it is, not in a group."""
    try:
        async with anyio.create_task_group() as group:
            yield group
    except BaseExceptionGroup as errors:
        raise _first(errors) from None


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
