"""Work side by side: tasks that end together, and those about the same thing that wait for each other."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import anyio.to_thread

from runtime.errors import first_error


class KeyedLocks:
    """One lock for each key, there as long as somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[anyio.Lock, int]] = {}

    @property
    def held(self) -> Collection[str]:
        """The keys that somebody holds or waits for."""
        return self._locks.keys()

    @asynccontextmanager
    async def alone(self, key: str) -> AsyncIterator[None]:
        """Wait until nobody else holds `key`, and hold others off until the block ends."""
        lock, waiting = self._locks.get(key) or (anyio.Lock(), 0)
        self._locks[key] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._locks.pop(key)
            if waiting > 1:
                self._locks[key] = (lock, waiting - 1)


@asynccontextmanager
async def together() -> AsyncIterator[anyio.abc.TaskGroup]:
    """Give a task group whose first error is raised as it is, not in a group."""
    try:
        async with anyio.create_task_group() as group:
            yield group
    except BaseExceptionGroup as errors:
        raise first_error(errors) from None


async def load_registry_client() -> None:
    """Import what speaks to registries, in a thread.

    Few engines ever need it, and the first import takes 70 ms, of TLS most of all: too long for the event loop.
    """
    for name in ("runtime.image.pull", "runtime.image.push"):
        await anyio.to_thread.run_sync(importlib.import_module, name)
