"""Disk usage (Docker Engine API, "Get data usage information")."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runtime.build.builder import Builder
from runtime.engine.containers.api import Containers
from runtime.engine.containers.table import ContainerTable
from runtime.engine.containers.views.sizes import trees_bytes
from runtime.engine.images.api import ImageApi
from runtime.engine.volumes.api import VolumeApi
from runtime.errors import BadRequestError
from runtime.image.images import Images
from runtime.paths import Paths

DISK_TYPES = ("container", "image", "volume", "build-cache")


@dataclass(frozen=True, eq=False)
class DiskUsage:
    """Measures the disk usage of containers, images, volumes and the build cache."""

    paths: Paths
    builder: Builder
    table: ContainerTable
    containers: Containers
    images: Images
    image_api: ImageApi
    volume_api: VolumeApi

    async def df(self, types: Sequence[str] = ()) -> dict[str, Any]:
        """Return the answer of "Get data usage information" for `types` of objects or all. Raises BadRequestError."""
        for kind in types:
            if kind not in DISK_TYPES:
                raise BadRequestError(f"unknown object type: {kind}")
        wanted = frozenset(types or DISK_TYPES)
        found: dict[str, Any] = {
            "LayersSize": 0,
            "Images": None,
            "Containers": None,
            "Volumes": None,
            "BuildCache": None,
        }
        if "image" in wanted:
            found |= self._images()
        if "container" in wanted:
            found["Containers"] = await self.containers.list(stopped=True, size=True)
        if "volume" in wanted:
            found["Volumes"] = await self._volumes()
        if "build-cache" in wanted:
            found["BuildCache"] = [*self._steps(), *await self._cache_mounts()]
        return found

    def _images(self) -> dict[str, Any]:
        layers = self.images.layers
        held = {diff_id for image in self.images.list() for diff_id in image.diff_ids}
        users = Counter(container.image_id for container in self.table)
        shared = self.image_api.shared_bytes()
        rows = [
            {**row, "SharedSize": shared[row["Id"]], "Containers": users[row["Id"]]} for row in self.image_api.list({})
        ]
        return {"LayersSize": sum(layers.size(diff_id) for diff_id in held), "Images": rows}

    async def _volumes(self) -> list[dict[str, Any]]:
        rows = []
        for volume in self.volume_api.list({})["Volumes"]:
            size = await trees_bytes([self.paths.volume(volume["Name"])])
            users = self.table.users_of_volume(volume["Name"])
            rows.append({**volume, "UsageData": {"Size": size, "RefCount": len(users)}})
        return rows

    async def _cache_mounts(self) -> list[dict[str, Any]]:
        return [
            {
                "ID": one.id,
                "Type": "exec.cachemount",
                "Description": f"cached mount {one.name}".rstrip(),
                "InUse": one.is_in_use,
                "Shared": False,
                "Size": one.size_bytes,
                "CreatedAt": one.last_used,
                "LastUsedAt": one.last_used,
                "UsageCount": 1,
            }
            for one in await self.builder.caches.kept()
        ]

    def _steps(self) -> list[dict[str, Any]]:
        held = {diff_id for image in self.images.list() for diff_id in image.diff_ids}
        rows = []
        for id, step in self.builder.cache.steps():
            layer = step.get("layer")
            rows.append(
                {
                    "ID": id[:25],
                    "Type": "regular",
                    "Description": step.get("instruction") or "",
                    "InUse": False,
                    "Shared": layer in held,
                    "Size": self.images.layers.size(layer) if layer else 0,
                    "CreatedAt": step.get("created"),
                    "LastUsedAt": self.builder.cache.last_used(id) or None,
                    "UsageCount": 1,
                }
            )
        return rows
