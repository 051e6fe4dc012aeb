"""Provides a container's mounts: creates volumes and bind sources, copies the image's content into new volumes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.bodies import ContainerConfig, HostConfig
from runtime.build.tree import Tree
from runtime.container import spec
from runtime.engine.containers.making.mount_options import MountPoint, mount_points
from runtime.engine.containers.making.roots import ScratchRoot
from runtime.engine.containers.state import Container
from runtime.engine.containers.table import ContainerTable
from runtime.engine.events import EventBus
from runtime.errors import BadRequestError, InternalError, NotFoundError
from runtime.image.images import Image, Images
from runtime.keeper.client import KeeperClient
from runtime.linux import mountinfo
from runtime.paths import Paths
from runtime.volume.volumes import Volumes


@dataclass(frozen=True, eq=False)
class Mounts:
    """Provides the sources of containers' mounts."""

    paths: Paths
    table: ContainerTable
    volumes: Volumes
    images: Images
    keeper: KeeperClient
    events: EventBus

    async def provide(
        self, config: ContainerConfig, host: HostConfig, image: Image, made: list[str]
    ) -> list[MountPoint]:
        """Return the container's mount points as Docker shows them; create its volumes and copy the image's content.

        The names of new volumes are appended to `made`. Raises BadRequestError.
        """
        others = {}
        for source in host.get("VolumesFrom") or ():
            name, _, mode = source.partition(":")
            if mode not in ("", "ro", "rw", "z", "Z"):
                raise BadRequestError(f"invalid mode for volumes-from: {mode}")
            try:
                others[name] = self.table.find(name).mounts
            except NotFoundError as error:  # in "create" 404 means that the image is missing
                raise BadRequestError(error.message) from error
        found = mount_points(config, host, others)
        for mount in found:
            if mount["Type"] == "bind":
                _check_bind(mount)
            elif mount["Type"] == "volume":
                await self._provide_volume(mount, image, made)
            elif mount["Type"] == "image":
                mount["Image"] = self.images.resolve(mount["Source"]).id
            mount.setdefault("Source", "")
            mount.setdefault("Mode", "")
            mount.setdefault("Propagation", "" if mount["Type"] != "bind" else "rprivate")
        return found

    async def _provide_volume(self, mount: MountPoint, image: Image, made: list[str]) -> None:
        name = mount.get("Name")
        is_new = not name or not self.volumes.has(name)
        volume = self.volumes.create(name, labels=mount.pop("Labels", None), options=mount.pop("DriverOpts", None))
        if is_new:
            made.append(volume.name)
            self.events.emit("volume", "create", volume.name, {"driver": "local"})
        path = self.volumes.provide(volume.name)
        mount |= {"Name": volume.name, "Driver": "local", "Source": str(path)}
        if mount.pop("NoCopy", False) or not path.is_dir() or any(path.iterdir()):
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        layers = [str(layer) for layer in self.images.layer_directories(image)]
        try:
            with ScratchRoot(self.paths.tmp, layers) as root:
                await self.keeper.task("copy_up", root, [descriptor], path=mount["Destination"])
            self.volumes.mark_data()
        finally:
            os.close(descriptor)

    def emit(self, action: str, container: Container) -> None:
        """Emit an event of each of the container's volumes ("mount", "unmount")."""
        for mount in container.mounts:
            if mount["Type"] != "volume":
                continue
            about = {"container": container.id, "driver": "local"}
            if action == "mount":
                about |= {
                    "destination": mount["Destination"],
                    "propagation": mount.get("Propagation") or "",
                    "read/write": str(mount.get("RW", True)).lower(),
                }
            self.events.emit("volume", action, mount["Name"], about)

    def resolved(self, mount: Mapping[str, Any]) -> spec.MountPoint:
        """Return a mount point with its present source on the host. Raises NotFoundError, InternalError."""
        source, is_writable = mount.get("Source") or "", mount.get("RW", True)
        if mount.get("Propagation") in WANTS_PEERS:
            _check_propagation(source, str(mount["Propagation"]))
        layers: tuple[str, ...] = ()
        if mount["Type"] == "volume":
            source = str(self.volumes.provide(mount["Name"]))
            is_writable = is_writable and not self.volumes.is_read_only(mount["Name"])
            if mount.get("Subpath") and not os.path.lexists(f"{source}/{mount['Subpath']}"):
                raise NotFoundError(
                    f"cannot access path {source}/{mount['Subpath']}: lstat {source}/{mount['Subpath']}: no such file or "
                    "directory",
                    f"create it in the volume {mount['Name']} first",
                )
        elif mount["Type"] == "image":
            layers = self._image_parts(mount)
        return spec.MountPoint(
            mount["Type"],
            mount["Destination"],
            source,
            mount.get("Name") or "",
            not is_writable,
            mount.get("Propagation") or "rprivate",
            tuple(mount.get("Options") or ()),
            (mount.get("Subpath") or "") if mount["Type"] == "volume" else "",
            not mount.get("NonRecursive"),
            bool(mount.get("WritableBelow")),
            layers,
        )

    def _image_parts(self, mount: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the directories of the image's layers that a mount of it combines, topmost first."""
        tree = Tree(self.images.layer_directories(self.images.resolve(mount["Image"])))
        entry = tree.find(mount.get("Subpath") or "/")
        if entry is None:
            raise NotFoundError(
                f"cannot access path {mount['Subpath']} in image {mount['Source']}: no such file or directory",
                "correct the subpath",
            )
        return entry.directories or (entry.location,)


WANTS_PEERS = ("shared", "rshared", "slave", "rslave")


def _check_propagation(source: str, propagation: str) -> None:
    """Raise InternalError when the mount that `source` is on can't propagate as is wanted (mount_namespaces(7))."""
    path = os.path.realpath(source)
    above = [
        mount
        for mount in mountinfo.own_mounts()
        if path == mount.point or path.startswith(f"{mount.point.rstrip('/')}/")
    ]
    # of several at one place the last hides the others
    nearest = max(reversed(above), key=lambda mount: len(mount.point), default=mountinfo.MountInfo("", "", (), ""))
    place = nearest.point
    is_shared, is_slave = (any(tag.startswith(kind) for tag in nearest.tags) for kind in ("shared:", "master:"))
    if propagation.endswith("shared") and not is_shared:
        raise InternalError(f"path {source} is mounted on {place} but it is not a shared mount")
    if propagation.endswith("slave") and not is_shared and not is_slave:
        raise InternalError(f"path {source} is mounted on {place} but it is not a shared or slave mount")


def _check_bind(mount: MountPoint) -> None:
    source = mount["Source"]
    create = mount.pop("Create", False)
    if not source.startswith("/"):
        raise BadRequestError(
            f"invalid mount config for type \"bind\": invalid mount path: '{source}' must be absolute"
        )
    if os.path.lexists(source):
        return
    if not create:
        raise BadRequestError(
            f'invalid mount config for type "bind": bind source path does not exist: {source}',
            "create it, or set `bind: create_host_path: true`",
        )
    try:
        os.makedirs(source, exist_ok=True)
    except OSError as error:
        raise BadRequestError(
            f"error while creating mount source path '{source}': {error.strerror}",
            "choose a directory that can be created",
        ) from error
