"""Volumes as the Docker Engine API knows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runtime.engine.containers import Containers
from runtime.engine.events import EventBus
from runtime.engine.filters import labels_match
from runtime.errors import BadRequestError, NotFoundError
from runtime.volume.volumes import ANONYMOUS_LABEL, Volume, Volumes


class VolumeApi:
    """Docker's volume operations over the volume room."""

    def __init__(self, volumes: Volumes, containers: Containers, events: EventBus) -> None:
        self._volumes = volumes
        self._containers = containers
        self._events = events

    def list(self, filters: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """Return "List volumes"."""
        found = [volume for volume in self._volumes.list() if self._passes(volume, filters)]
        return {"Volumes": [self._volumes.document(volume) for volume in found], "Warnings": None}

    def _passes(self, volume: Volume, filters: Mapping[str, Sequence[str]]) -> bool:
        if filters.get("name") and not any(value in volume.name for value in filters["name"]):
            return False
        if filters.get("label") and not labels_match(volume.labels, filters["label"]):
            return False
        if filters.get("driver") and volume.driver not in filters["driver"]:
            return False
        dangling = filters.get("dangling")
        return not dangling or (dangling[0] in ("true", "1")) != bool(self._containers.users_of(volume.name))

    def inspect(self, name: str) -> dict[str, Any]:
        """Return "Inspect a volume"."""
        return self._volumes.document(self._volumes.get(name))

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Make a volume; one that is there already is returned as it is."""
        name = body.get("Name") or None
        is_new = name is None or not self._volumes.has(name)
        volume = self._volumes.create(
            name,
            driver=body.get("Driver") or "local",
            labels=body.get("Labels"),
            options=body.get("DriverOpts"),
        )
        if is_new:
            self._events.emit("volume", "create", volume.name, {"driver": "local"})
        return self._volumes.document(volume)

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a volume that no container has."""
        try:
            self._volumes.remove(name, self._containers.users_of(name))
        except NotFoundError:
            if not force:
                raise
            return
        self._events.emit("volume", "destroy", name, {"driver": "local"})

    def prune(self, filters: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """Remove the volumes that no container has: anonymous ones, or all with `all=true`."""
        unknown = set(filters) - {"all", "label"}
        if unknown:
            raise BadRequestError(f"invalid filter '{min(unknown)}'")
        everything = (filters.get("all") or ["false"])[0] in ("true", "1")
        removed = []
        for volume in self._volumes.list():
            if self._containers.users_of(volume.name) or not (everything or ANONYMOUS_LABEL in volume.labels):
                continue
            if filters.get("label") and not labels_match(volume.labels, filters["label"]):
                continue
            self.remove(volume.name)
            removed.append(volume.name)
        return {"VolumesDeleted": removed, "SpaceReclaimed": 0}
