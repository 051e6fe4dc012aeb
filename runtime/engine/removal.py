"""Removing a container that does not run: its row, its directory, its anonymous volumes."""

from __future__ import annotations

import shutil
from contextlib import suppress

import anyio
import anyio.to_thread

from runtime.engine.background import attempt
from runtime.engine.networking import ContainerNetworks
from runtime.engine.state import REMOVING, Container
from runtime.engine.table import ContainerTable
from runtime.errors import SkiffError
from runtime.paths import Paths
from runtime.volume.volumes import ANONYMOUS_LABEL, Volumes


class Removal:
    """Removes what stopped containers leave."""

    def __init__(self, paths: Paths, table: ContainerTable, networks: ContainerNetworks, volumes: Volumes) -> None:
        self._paths = paths
        self._table = table
        self._networks = networks
        self._volumes = volumes

    async def remove(self, container: Container, volumes: bool = True) -> None:
        """Remove a stopped container: first its row, so that a crash leaves only files to sweep."""
        if container not in self._table:
            return
        container.state.status = REMOVING
        self._table.delete(container)
        with anyio.CancelScope(shield=True):
            await attempt(self._networks.forget, container)
            await anyio.to_thread.run_sync(shutil.rmtree, self._paths.container(container.id), True)
            if volumes:
                self._remove_volumes(container)
        self._table.tell(container, "destroy")
        container.notify()
        container.notify_log()

    def _remove_volumes(self, container: Container) -> None:
        for mount in container.mounts:
            name = mount.get("Name")
            if name and self._volumes.has(name) and ANONYMOUS_LABEL in self._volumes.get(name).labels:
                with suppress(SkiffError):
                    self._volumes.remove(name, self._table.users_of_volume(name))
