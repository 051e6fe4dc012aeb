"""The one thread in which kernel work of the network room is done."""

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
    """Runs blocking kernel work, one piece at a time, never cut short halfway.

    `namespace` is the pinned network namespace that the bridges are in, where it is not this process's own. A thread
    that enters it stays there: without root there is no way back into the host's (setns(2)).
    """

    def __init__(self, namespace: Path | None = None) -> None:
        self.namespace = namespace
        self._limiter = anyio.CapacityLimiter(1)
        self._inside = None if namespace is None else _thread_in(namespace)

    async def run(self, action: Callable[[], T]) -> T:
        """Return what `action` does in a thread of its own; a cancellation waits for its end."""
        if self._inside is not None:
            action = self._inside.submit(action).result
        with anyio.CancelScope(shield=True):
            result = await anyio.to_thread.run_sync(action, limiter=self._limiter)
        return result  # noqa: RET504 (to mypy a scope may swallow what is raised in it)


def _thread_in(namespace: Path) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "network", initializer=netns.enter, initargs=(namespace,))
