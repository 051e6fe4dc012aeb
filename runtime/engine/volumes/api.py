"""Operations on volumes as in the Docker Engine API."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from runtime.bodies import VolumeBody
from runtime.engine.containers.table import ContainerTable
from runtime.engine.containers.views.sizes import trees_bytes
from runtime.engine.events import EventBus
from runtime.engine.filters import DELETED, Filters, Report, check_known, flag, labels_match, may_be_pruned
from runtime.engine.times import parse_rfc3339
from runtime.errors import NotFoundError
from runtime.paths import Paths
from runtime.volume.volumes import ANONYMOUS_LABEL, Volume, Volumes

LIST_FILTERS = ("dangling", "driver", "label", "name")
PRUNE_FILTERS = ("all", "label", "label!")


@dataclass(frozen=True, eq=False)
class VolumeApi:
    """Docker's volume operations."""

    paths: Paths
    volumes: Volumes
    table: ContainerTable
    events: EventBus

    def list(self, filters: Filters) -> dict[str, Any]:
        """Return the answer of "List volumes". Raises BadRequestError on an unknown filter."""
        check_known(filters, LIST_FILTERS)
        flag("dangling", filters.get("dangling") or ["true"])
        found = [volume for volume in self.volumes.list() if self._passes(volume, filters)]
        return {"Volumes": [self.volumes.document(volume) for volume in found], "Warnings": None}

    def _passes(self, volume: Volume, filters: Filters) -> bool:
        if filters.get("name") and not any(value in volume.name for value in filters["name"]):
            return False
        if filters.get("label") and not labels_match(volume.labels, filters["label"]):
            return False
        if filters.get("driver") and volume.driver not in filters["driver"]:
            return False
        dangling = filters.get("dangling")
        return not dangling or flag("dangling", dangling) != bool(self.table.users_of_volume(volume.name))

    def inspect(self, name: str) -> dict[str, Any]:
        """Return the answer of "Inspect a volume". Raises NotFoundError."""
        return self.volumes.document(self.volumes.get(name))

    def create(self, body: VolumeBody) -> dict[str, Any]:
        """Create a volume, or return an existing one. Raises EngineError."""
        name = body.get("Name") or None
        is_new = name is None or not self.volumes.has(name)
        volume = self.volumes.create(
            name,
            driver=body.get("Driver") or "local",
            labels=body.get("Labels"),
            options=body.get("DriverOpts"),
        )
        if is_new:
            self.events.emit("volume", "create", volume.name, {"driver": "local"})
        return self.volumes.document(volume)

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a volume that no container mounts. Raises EngineError."""
        try:
            self.volumes.remove(name, self.table.users_of_volume(name))
        except NotFoundError:
            if not force:
                raise
            return
        self.events.emit("volume", "destroy", name, {"driver": "local"})

    async def prune(self, filters: Filters, report: Report) -> dict[str, Any]:
        """Remove the volumes that no container mounts: anonymous ones, or all with `all=true`."""
        check_known(filters, PRUNE_FILTERS)
        everything = flag("all", filters.get("all") or ["false"])
        now_ns = time.time_ns()
        removed, freed = [], 0
        for volume in self.volumes.list():
            if self.table.users_of_volume(volume.name) or not (everything or ANONYMOUS_LABEL in volume.labels):
                continue
            if may_be_pruned(filters, volume.labels, parse_rfc3339(volume.created), now_ns):
                freed += await trees_bytes([self.paths.volume(volume.name)])
                self.remove(volume.name)
                removed.append(volume.name)
                report(volume.name, DELETED)
        self.events.emit("volume", "prune", "", {"reclaimed": str(freed)})
        return {"VolumesDeleted": removed, "SpaceReclaimed": freed}
