"""Devices of containers and networks that are gone, on their way out of the kernel."""

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
    """Removes devices behind the back of what goes on.

    Measured: the kernel needs 20 to 40 ms to delete one (it waits for every processor to have seen it), and no longer
    for a hundred at once. So nobody waits but who must, and what comes meanwhile goes together.
    """

    def __init__(self, bridges: Bridges, worker: NamespaceThread, group: anyio.abc.TaskGroup) -> None:
        self._bridges = bridges
        # one beside the one that all else goes through
        self._worker = NamespaceThread(worker.namespace)
        self._group = group
        self._waiting: list[str] = []
        self._finished: anyio.Event | None = None

    def add(self, device: str) -> None:
        """Have a device of the host removed."""
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
        """Return when nothing is left to remove."""
        while self._finished is not None:
            await self._finished.wait()
