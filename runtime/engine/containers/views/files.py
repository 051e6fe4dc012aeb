"""Copying files into and out of containers, and their changes (Docker Engine API, "archive", "export", "changes")."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.to_thread

from runtime.container.spec import mount_entry
from runtime.engine.containers.making.mounts import Mounts
from runtime.engine.containers.making.roots import LiveRoot, ReadOnlyRoot, ScratchRoot
from runtime.engine.containers.state import Container
from runtime.engine.containers.table import ContainerTable
from runtime.engine.containers.views.changes import Change, changes
from runtime.engine.times import rfc3339
from runtime.errors import BadRequestError, ConflictError, ForbiddenError, InternalError, NotFoundError, SkiffError
from runtime.image.images import Images
from runtime.image.transfers import together
from runtime.keeper.client import KeeperClient
from runtime.paths import Paths
from runtime.streaming import Send

READ_BYTES = 1 << 16


@dataclass(frozen=True, eq=False)
class Files:
    """Accesses containers' root filesystems through tasks of the keeper."""

    paths: Paths
    images: Images
    keeper: KeeperClient
    table: ContainerTable
    mounts: Mounts

    async def about(self, container: Container, path: str) -> dict[str, Any]:
        """Return Docker's description of a path in the container. Raises NotFoundError."""
        with self._root_of(container) as root:
            try:
                found: dict[str, Any] = await self.keeper.task("stat", root, path=_absolute(path))
            except InternalError as error:
                raise NotFoundError(f"Could not find the file {path} in container {container.name}") from error
        found["mode"] = go_mode(found["mode"])
        found["mtime"] = rfc3339(int(found["mtime"] * 1e9))
        return found

    async def get(self, container: Container, path: str, send: Send[bytes]) -> None:
        """Send a tar stream of a path in the container."""
        await self._tar(self._root_of(container), _absolute(path), send)
        self.table.emit(container, "archive-path")

    async def export(self, container: Container, send: Send[bytes]) -> None:
        """Send the container's whole root filesystem, without its mounts, as a tar stream."""
        layers = [*self._layers(container), str(self.paths.init_layer)]
        root = ReadOnlyRoot(self.paths.tmp, layers, self._directory(container))
        await self._tar(root, "/.", send, is_bare=True)
        self.table.emit(container, "export")

    async def _tar(
        self, root: AbstractContextManager[dict[str, Any]], path: str, send: Send[bytes], *, is_bare: bool = False
    ) -> None:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(reader, False)
        failures: list[SkiffError] = []
        with root as where:
            async with together() as group:

                async def produce() -> None:
                    try:
                        await self.keeper.task("tar_out", where, [writer], path=path, bare=is_bare)
                    except SkiffError as error:
                        failures.append(error)
                    finally:
                        os.close(writer)

                group.start_soon(produce)
                try:
                    while True:
                        await anyio.wait_readable(reader)
                        data = os.read(reader, READ_BYTES)
                        if not data:
                            break
                        await send(data)
                finally:
                    # before the group waits for the producer: without a reader it fails with EPIPE and ends
                    os.close(reader)
        if failures:
            raise failures[0]

    async def put(
        self,
        container: Container,
        path: str,
        source: AsyncIterator[bytes],
        *,
        no_overwrite_dir_non_dir: bool = False,
        owned_by_user: bool = False,
    ) -> None:
        """Unpack a tar stream into a directory of the container. Raises NotFoundError, BadRequestError.

        With `owned_by_user` all files belong to the container's configured user, if any.
        """
        await self._check_directory(container, path)
        if container.host.get("ReadonlyRootfs") and not _is_below(path, container.mounts):
            raise ForbiddenError("container rootfs is marked read-only")
        self.paths.tmp.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.paths.tmp) as spool, self._root_of(container) as root:
            async for data in source:
                await anyio.to_thread.run_sync(spool.write, data)
            spool.flush()
            spool.seek(0)
            try:
                await self.keeper.task(
                    "tar_in",
                    root,
                    [spool.fileno()],
                    path=_absolute(path),
                    no_overwrite_dir_non_dir=no_overwrite_dir_non_dir,
                    user=str(container.config.get("User") or "") if owned_by_user else "",
                )
            except InternalError as error:
                raise BadRequestError(f"can't extract into {path}: {error.message.removeprefix('keeper: ')}") from error
        self.table.emit(container, "extract-to-dir")

    async def remove(self, container: Container, paths: Sequence[str]) -> None:
        """Remove files and directories of the container, whether it runs or not; missing ones are no error.

        Raises ForbiddenError for a read-only root, BadRequestError for what can't be removed.
        """
        wanted = [found for path in paths if (found := _absolute(path).removesuffix("/.")) != "/"]
        if container.host.get("ReadonlyRootfs") and not all(_is_below(path, container.mounts) for path in wanted):
            raise ForbiddenError("container rootfs is marked read-only")
        with self._root_of(container) as root:
            try:
                await self.keeper.task("remove", root, paths=wanted)
            except InternalError as error:
                raise BadRequestError(f"can't remove files: {error.message.removeprefix('keeper: ')}") from error

    async def _check_directory(self, container: Container, path: str) -> None:
        try:
            about = await self.about(container, path.rstrip("/") + "/." if path.strip("/") else "/")
        except NotFoundError:
            about = await self.about(container, path)  # raises when nothing is there
        if not about["mode"] & 1 << 31:
            raise BadRequestError("extraction point is not a directory")

    async def changes(self, container: Container) -> list[Change]:
        """Return the container's changes to the image's files."""
        layers = self.images.layer_directories(self.images.resolve(container.image_id))
        upper = self._directory(container) / "upper"
        return await anyio.to_thread.run_sync(changes, upper, layers)

    def _root_of(self, container: Container) -> AbstractContextManager[dict[str, Any]]:
        if container.is_running:
            return LiveRoot(container.id)
        shown = [mount for mount in container.mounts if mount["Type"] in ("bind", "volume")]
        binds = [mount_entry(self.mounts.resolved(mount)) for mount in shown]
        return ScratchRoot(self.paths.tmp, self._layers(container), self._directory(container), binds)

    def _directory(self, container: Container) -> Any:
        directory = self.paths.container(container.id)
        if not directory.is_dir():
            raise ConflictError(f"container {container.name} is being removed")
        (directory / "upper").mkdir(exist_ok=True)
        return directory

    def _layers(self, container: Container) -> list[str]:
        image = self.images.resolve(container.image_id)
        return [str(layer) for layer in self.images.layer_directories(image)]


def _absolute(path: str) -> str:
    ends_with_dot = path.endswith(("/", "/."))
    normal = os.path.normpath("/" + path.lstrip("/"))
    return normal + "/." if ends_with_dot and normal != "/" else normal


def _is_below(path: str, mounts: Sequence[Mapping[str, Any]]) -> bool:
    """Whether `path` is in one of a container's mounts."""
    inside = _absolute(path).removesuffix("/.") + "/"
    return any(inside.startswith(f"{mount['Destination'].rstrip('/')}/") for mount in mounts)


def go_mode(mode: int) -> int:
    """Convert a file mode to the bits of Go's os.FileMode, which the API uses."""
    found = stat.S_IMODE(mode) & 0o777
    for bit, is_kind in (
        (31, stat.S_ISDIR),
        (27, stat.S_ISLNK),
        (26, stat.S_ISBLK),
        (25, stat.S_ISFIFO),
        (24, stat.S_ISSOCK),
    ):
        if is_kind(mode):
            found |= 1 << bit
    if stat.S_ISCHR(mode):
        found |= 1 << 26 | 1 << 21
    for flag, bit in ((stat.S_ISUID, 23), (stat.S_ISGID, 22), (stat.S_ISVTX, 20)):
        if mode & flag:
            found |= 1 << bit
    return found
