"""Deletes devices of removed containers and networks in the background."""

from __future__ import annotations

import logging
from functools import partial

import anyio
import anyio.abc

from runtime.errors import KernelError
from runtime.network.bridges import Bridges
from runtime.network.namespace_thread import NamespaceThread

logger = logging.getLogger(__name__)


class PendingDeviceRemovals:
    """Deletes devices in the background, several together.

    Measured: the kernel needs 20 to 40 ms to delete one (it waits for an RCU grace period), and no longer for a hundred at
    once. So callers wait only if they must (`finish`), and devices added during a deletion are deleted together next.
    """

    def __init__(self, bridges: Bridges, worker: NamespaceThread, group: anyio.abc.TaskGroup) -> None:
        self._bridges = bridges
        # a separate thread, so that other operations do not wait
        self._worker = NamespaceThread(worker.namespace)
        self._group = group
        self._waiting: list[str] = []
        self._finished: anyio.Event | None = None

    def add(self, device: str) -> None:
        """Schedule the deletion of a device of the host."""
        self._waiting.append(device)
        if self._finished is None:
            self._finished = anyio.Event()
            self._group.start_soon(self._remove_all, self._finished)

    async def _remove_all(self, finished: anyio.Event) -> None:
        try:
            while self._waiting:
                devices, self._waiting = self._waiting, []
                try:
                    await self._worker.run(partial(self._bridges.delete, devices))
                except KernelError as error:
                    logger.error("devices could not be removed: %s", error)
        finally:
            self._finished = None
            finished.set()

    async def finish(self) -> None:
        """Return when all scheduled devices are deleted."""
        while self._finished is not None:
            await self._finished.wait()
