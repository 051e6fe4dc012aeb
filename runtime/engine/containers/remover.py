"""Removes stopped containers with their records, directories and anonymous volumes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import anyio

from runtime.engine.background import log_errors
from runtime.engine.containers.state import REMOVING, Container
from runtime.engine.containers.table import ContainerTable
from runtime.engine.networks.networking import ContainerNetworks
from runtime.errors import SkiffError
from runtime.paths import Paths
from runtime.trash import Trash
from runtime.volume.volumes import ANONYMOUS_LABEL, Volumes


@dataclass(frozen=True, eq=False)
class ContainerRemover:
    """Removes stopped containers."""

    paths: Paths
    table: ContainerTable
    networks: ContainerNetworks
    volumes: Volumes
    trash: Trash

    async def remove(self, container: Container, volumes: bool = True) -> bool:
        """Remove a stopped container; return False if it has been started in between.

        Its directory, which contains its record, is renamed into the trash, so a crash leaves all of it or nothing.
        """
        async with container.lock:
            if container not in self.table:
                return True
            if container.is_running:
                return False
            container.state.status = REMOVING
            self.trash.throw(self.paths.container(container.id))
            self.table.delete(container)
            with anyio.CancelScope(shield=True):
                await log_errors(self.networks.forget, container)
                if volumes:
                    self._remove_volumes(container)
        self.table.emit(container, "destroy")
        container.notify()
        container.notify_log()
        return True

    def _remove_volumes(self, container: Container) -> None:
        for mount in container.mounts:
            name = mount.get("Name")
            if name and self.volumes.has(name) and ANONYMOUS_LABEL in self.volumes.get(name).labels:
                with suppress(SkiffError):
                    self.volumes.remove(name, self.table.users_of_volume(name))
