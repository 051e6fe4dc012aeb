"""A thread for blocking kernel calls of the network package."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread

from runtime.linux import netns

T = TypeVar("T")


class NamespaceThread:
    """Runs blocking calls one at a time, each to its end even if the task is cancelled.

    `namespace` is the pinned network namespace of the bridges, None if they are in the host's. A thread that enters it
    stays there: without root it can't return to the host's (setns(2)).
    """

    def __init__(self, namespace: Path | None = None) -> None:
        self.namespace = namespace
        self._limiter = anyio.CapacityLimiter(1)
        self._inside = None if namespace is None else _thread_in(namespace)

    async def run(self, action: Callable[[], T]) -> T:
        """Run `action` in the thread and return its result; cancellation is delivered after it."""
        if self._inside is not None:
            action = self._inside.submit(action).result
        with anyio.CancelScope(shield=True):
            result = await anyio.to_thread.run_sync(action, limiter=self._limiter)
        return result  # noqa: RET504 (mypy assumes that the scope may suppress exceptions)


def _thread_in(namespace: Path) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "network", initializer=netns.enter, initargs=(namespace,))
