"""Images created without a Dockerfile: from a container (commit) or from an archive of a root filesystem (import)."""

from __future__ import annotations

import os
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.to_thread

from runtime.build.configure import OWN_COMMAND, configured
from runtime.build.errors import DockerfileError
from runtime.build.expansion import expand
from runtime.build.lines import read_source
from runtime.build.parser import parse_instruction
from runtime.engine.containers.making.checks import ARCHITECTURES
from runtime.engine.containers.state import RUNNING, Container
from runtime.engine.containers.table import ContainerTable
from runtime.engine.containers.views.changes import is_of_runtime
from runtime.engine.events import EventBus
from runtime.engine.system.limits import can_pause
from runtime.errors import BadRequestError, NotFoundError
from runtime.image.images import Image, Images, now
from runtime.image.pack import pack
from runtime.image.reference import Reference
from runtime.keeper.client import KeeperClient
from runtime.paths import Paths
from runtime.streaming import Send

CHANGEABLE = (
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
)
IMAGE_KEYS = (
    "User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal", "Healthcheck",
    "Shell", "OnBuild",
)  # fmt: skip
"""Fields of a container's configuration that an image has too (OCI image specification, "config")."""


@dataclass(frozen=True, eq=False)
class ImageMaking:
    """Creates images from containers and archives."""

    paths: Paths
    images: Images
    table: ContainerTable
    keeper: KeeperClient
    events: EventBus

    async def commit(
        self,
        name: str,
        *,
        repository: str = "",
        tag: str = "",
        author: str = "",
        comment: str = "",
        changes: Sequence[str] = (),
        overrides: Mapping[str, Any] | None = None,
        pause: bool = True,
    ) -> Image:
        """Create an image from a container's files and configuration; `changes` are Dockerfile instructions.

        Members of the ContainerConfig `overrides` replace the container's. While its files are read, the container is
        paused if `pause` is set and it can be. Raises NotFoundError, BadRequestError.
        """
        container = self.table.find(name)
        reference = _reference(repository, tag)
        own: Mapping[str, Any] = container.config
        config = {key: own[key] for key in IMAGE_KEYS if own.get(key)}
        config |= {key: value for key, value in (overrides or {}).items() if key in IMAGE_KEYS and value}
        config = changed(config, changes)
        try:
            parent = self.images.resolve(container.image_id)
        except NotFoundError as error:
            raise BadRequestError(f"the image of container {container.name} is gone: {error.message}") from error
        if parent.rootfs is not None:
            raise BadRequestError(
                f"container {container.name} runs on a plain directory, not on an image with layers",
                "export it, and import the archive",
            )
        async with self.images.garbage.held_off():
            diff_id = await self._layer(container, pause)
            made = now()
            command = " ".join([*(container.config.get("Entrypoint") or ()), *(container.config.get("Cmd") or ())])
            step: dict[str, Any] = {"created": made, "created_by": command, "author": author, "comment": comment}
            if diff_id is None:
                step["empty_layer"] = True
            document = {
                **parent.config,
                "created": made,
                "author": author,
                "config": config,
                "rootfs": {"type": "layers", "diff_ids": [*parent.diff_ids, *([diff_id] if diff_id else [])]},
                "history": [*(parent.config.get("history") or ()), {k: v for k, v in step.items() if v}],
            }
            image = await self.images.register(document, parent=parent.id)
            self.events.emit_image("create", image, image.id)
            self._name(image, reference)
        familiar = reference.familiar if reference is not None else ""
        self.table.emit(container, "commit", comment=comment, imageID=image.id, imageRef=familiar)
        return image

    def _name(self, image: Image, reference: Reference | None) -> None:
        if reference is not None:
            self.images.tag(image, reference)
            self.events.emit_image("tag", image, reference.familiar)

    async def _layer(self, container: Container, pause: bool) -> str | None:
        """Create a layer from the container's changes; return its diff ID, None if there are no changes."""
        upper = self.paths.container(container.id) / "upper"
        if not upper.is_dir():  # it was never started
            return None
        mounted = [mount["Destination"] for mount in container.mounts]
        with tempfile.TemporaryDirectory(dir=self.images.scratch(), prefix="commit-") as scratch:
            async with self._still(container, pause):
                count = await anyio.to_thread.run_sync(_pack_changes, upper, Path(scratch), mounted)
            return await self.images.layers.add(Path(scratch) / "layer.tar") if count else None

    @asynccontextmanager
    async def _still(self, container: Container, pause: bool) -> AsyncIterator[None]:
        """Freeze the container while the block runs."""
        freezes = pause and container.state.status == RUNNING and can_pause()
        if freezes:
            await self.keeper.freeze(container.id, True)
            self.table.emit(container, "pause")
        try:
            yield
        finally:
            if freezes:
                with anyio.CancelScope(shield=True):
                    await self.keeper.freeze(container.id, False)
                self.table.emit(container, "unpause")

    async def import_archive(
        self,
        source: AsyncIterator[bytes],
        send: Send[dict[str, Any]],
        *,
        repository: str = "",
        tag: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        platform: str = "",
    ) -> None:
        """Create an image with one layer from the archive `source`, compressed or not; send progress messages."""
        reference = _reference(repository, tag)
        config = changed({}, changes)
        async with self.images.garbage.held_off():
            with tempfile.NamedTemporaryFile(dir=self.images.scratch(), prefix="import-") as spool:
                async for data in source:
                    await anyio.to_thread.run_sync(spool.write, data)
                spool.flush()
                diff_id = await self.images.layers.add(Path(spool.name))
            made = now()
            machine = os.uname().machine
            image = await self.images.register(
                {
                    "architecture": platform.partition("/")[2] or ARCHITECTURES.get(machine, machine),
                    "os": "linux",
                    "created": made,
                    "config": config,
                    "rootfs": {"type": "layers", "diff_ids": [diff_id]},
                    "history": [{"created": made, "comment": message or "Imported from -"}],
                }
            )
            self._name(image, reference)
        await self.images.store.flush()
        self.events.emit_image("import", image, image.id)
        await send({"status": image.id})


def _reference(repository: str, tag: str) -> Reference | None:
    return Reference.parse(f"{repository}:{tag}" if tag else repository) if repository else None


def changed(config: Mapping[str, Any], changes: Iterable[str]) -> dict[str, Any]:
    """Return an image's `config` after Dockerfile instructions of CHANGEABLE. Raises BadRequestError."""
    new = dict(config)
    for text in changes:
        try:
            for line in read_source(text).lines:
                keyword = line.text.split(None, 1)[0].upper()
                if keyword not in CHANGEABLE:
                    raise BadRequestError(f"{keyword} is not a valid change command", f"known: {', '.join(CHANGEABLE)}")
                if keyword == "WORKDIR":
                    path = line.text.split(None, 1)[1] if " " in line.text else ""
                    new["WorkingDir"] = os.path.normpath(os.path.join(new.get("WorkingDir") or "/", path))
                    continue
                changes_made = configured(new, parse_instruction(line), lambda word: expand(word, {}))
                new = new if changes_made is None else changes_made
        except DockerfileError as error:
            raise BadRequestError(f"invalid change {text!r}: {error.message}", error.hint) from error
    new.pop(OWN_COMMAND, None)
    return new


def _pack_changes(upper: Path, scratch: Path, mounted: Sequence[str]) -> int:
    """Write `upper` to layer.tar, without mount points; return the number of entries. Blocking."""
    whole = scratch / "whole.tar"
    with open(whole, "wb") as out:
        pack(upper, out)
    count = 0
    with (
        tarfile.open(whole, "r:") as source,
        tarfile.open(scratch / "layer.tar", "w", format=tarfile.PAX_FORMAT) as layer,
    ):
        for member in source:
            if is_of_runtime(f"/{member.name}", mounted):
                continue
            layer.addfile(member, source.extractfile(member) if member.isreg() else None)
            count += 1
    whole.unlink()
    return count
