"""Images as the Docker Engine API knows them."""

from __future__ import annotations

import builtins
import json
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from runtime.engine.containers import Containers
from runtime.engine.events import EventBus
from runtime.engine.filters import labels_match
from runtime.engine.state import parse_rfc3339
from runtime.errors import NotFoundError, SkiffError
from runtime.image import archive, bootstrap
from runtime.image.images import Image, Images
from runtime.image.reference import Reference
from runtime.paths import Paths

if TYPE_CHECKING:
    from runtime.image.registry_auth import Credentials

Progress = dict[str, Any]
READ_BYTES = 1 << 20


class ImageApi:
    """Docker's image operations over the image room."""

    def __init__(self, paths: Paths, images: Images, containers: Containers, events: EventBus) -> None:
        self._paths = paths
        self._images = images
        self._containers = containers
        self._events = events

    def list(self, filters: Mapping[str, Sequence[str]], *, all: bool = False) -> list[dict[str, Any]]:
        """Return "List images"."""
        found = []
        for image in self._images.list():
            names = [Reference.parse(reference).familiar for reference in image.references]
            if filters.get("reference") and not any(_names_match(name, filters["reference"]) for name in names):
                continue
            if filters.get("label") and not labels_match(image.defaults.get("Labels") or {}, filters["label"]):
                continue
            if filters.get("dangling") and (filters["dangling"][0] in ("true", "1")) == bool(names):
                continue
            if not names and not all and not filters.get("dangling"):
                names = []
            found.append(
                {
                    "Id": image.id,
                    "ParentId": "",
                    "RepoTags": names,
                    "RepoDigests": [Reference.parse(digest).familiar for digest in image.digests],
                    "Created": parse_rfc3339(image.config.get("created") or "") // 1_000_000_000,
                    "Size": image.size_bytes,
                    "SharedSize": -1,
                    "Labels": image.defaults.get("Labels") or {},
                    "Containers": -1,
                }
            )
        return found

    def inspect(self, name: str) -> dict[str, Any]:
        """Return "Inspect an image"."""
        image = self._images.resolve(name)
        return {
            "Id": image.id,
            "RepoTags": [Reference.parse(reference).familiar for reference in image.references if not image.rootfs],
            "RepoDigests": [Reference.parse(digest).familiar for digest in image.digests],
            "Parent": "",
            "Comment": "",
            "Created": image.config.get("created") or "",
            "Author": image.config.get("author") or "",
            "Config": image.defaults,
            "Architecture": image.config.get("architecture") or "",
            "Os": image.config.get("os") or "linux",
            "Size": image.size_bytes,
            "GraphDriver": {"Name": "overlay2", "Data": {}},
            "RootFS": {"Type": "layers", "Layers": [*image.diff_ids]},
        }

    def history(self, name: str) -> builtins.list[dict[str, Any]]:
        """Return "Get the history of an image", the newest step first."""
        image = self._images.resolve(name)
        steps = [
            {
                "Id": "<missing>",
                "Created": parse_rfc3339(step.get("created") or "") // 1_000_000_000,
                "CreatedBy": step.get("created_by") or "",
                "Tags": None,
                "Size": 0,
                "Comment": step.get("comment") or "",
            }
            for step in reversed(image.config.get("history") or ())
        ]
        if steps:
            steps[0] |= {"Id": image.id, "Tags": [Reference.parse(r).familiar for r in image.references]}
        return steps

    def tag(self, name: str, repository: str, tag: str) -> None:
        """Give an image another name."""
        image = self._images.resolve(name)
        reference = Reference.parse(f"{repository}:{tag}" if tag else repository)
        self._images.tag(image, reference)
        self._tell("tag", image, reference.familiar)

    def _tell(self, action: str, image: Image, name: str) -> None:
        self._events.emit("image", action, image.id, {**(image.defaults.get("Labels") or {}), "name": name})

    async def remove(self, name: str, *, force: bool = False) -> builtins.list[dict[str, str]]:
        """Remove a name or an image; returns Docker's list of what went."""
        image = self._images.resolve(name)
        done = self._images.remove(name, force=force, in_use=self._containers.user_of_image)
        for one in done:
            self._tell("untag" if "Untagged" in one else "delete", image, name)
        await self._images.garbage.empty_trash()
        return done

    async def prune(self, filters: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """Remove images that no container uses: those without a name, or all with `dangling=false`."""
        only_dangling = (filters.get("dangling") or ["true"])[0] in ("true", "1")
        deleted: builtins.list[dict[str, str]] = []
        before = sum(image.size_bytes for image in self._images.list())
        for image in self._images.list():
            if (only_dangling and image.references) or self._containers.user_of_image(image.id):
                continue
            deleted += self._images.remove(image.id, force=True, in_use=self._containers.user_of_image)
        after = sum(image.size_bytes for image in self._images.list())
        await self._images.garbage.empty_trash()
        return {"ImagesDeleted": deleted or None, "SpaceReclaimed": before - after}

    async def load(self, source: AsyncIterator[bytes]) -> AsyncGenerator[Progress, None]:
        """Load a `docker save` archive or an OCI layout; yields Docker's progress messages."""
        self._paths.tmp.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._paths.tmp, prefix="load-") as spool:
            async for data in source:
                spool.write(data)
            spool.flush()
            path = Path(spool.name)
            async with aclosing(_in_task(lambda tell: archive.load(self._images, path, tell))) as messages:
                async for message in messages:
                    yield message

    async def save(self, names: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """Yield an archive of the images `names`."""
        wanted = archive.exports(self._images, names)
        self._paths.tmp.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._paths.tmp, prefix="save-") as spool:
            async with self._images.garbage.held_off():
                await anyio.to_thread.run_sync(archive.save, wanted, spool, self._paths.tmp)
            spool.seek(0)
            while data := await anyio.to_thread.run_sync(spool.read, READ_BYTES):
                yield data

    async def bootstrap(self, name: str) -> AsyncGenerator[Progress, None]:
        """Make a Debian base image; yields progress messages."""
        cache = bootstrap.cache_directory(os.environ, os.getuid())
        async with aclosing(_in_task(lambda tell: bootstrap.bootstrap(self._images, name, cache, tell))) as messages:
            async for message in messages:
                yield message

    async def pull(
        self, name: str, *, platform: str | None = None, auth: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Progress, None]:
        """Pull an image from its registry; yields Docker's progress messages."""
        from runtime.image.pull import pull

        reference = Reference.parse(name)
        credentials = _credentials(auth)

        async def work(tell: Callable[[Progress], None]) -> None:
            image = await pull(self._images, reference, platform=platform, credentials=credentials, progress=tell)
            self._tell("pull", image, reference.familiar)

        async with aclosing(_in_task(work)) as messages:
            async for message in messages:
                yield message

    async def push(self, name: str, *, auth: Mapping[str, str] | None = None) -> AsyncGenerator[Progress, None]:
        """Push an image to its registry; yields Docker's progress messages."""
        from runtime.image.push import push

        reference = Reference.parse(name)
        image = self._images.resolve(str(reference))
        credentials = _credentials(auth)
        async with aclosing(
            _in_task(lambda tell: push(self._images, reference, credentials=credentials, progress=tell))
        ) as messages:
            async for message in messages:
                yield message
        self._tell("push", image, reference.familiar)

    async def pull_for_build(
        self, reference: Reference, platform: str | None, progress: Callable[[Progress], None]
    ) -> Image:
        """Pull the base image of a build."""
        from runtime.image.pull import pull

        return await pull(self._images, reference, platform=platform, progress=progress)

    async def distribution(self, name: str, *, auth: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return "Get image information from the registry"."""
        from runtime.image.manifest import LARGEST_CONFIG_BYTES, Descriptor, Index, Platform
        from runtime.image.registry import Registry

        reference = Reference.parse(name)
        async with Registry.open(reference.domain, _credentials(auth)) as registry:
            found = await registry.manifest(reference)
            if isinstance(found.parsed, Index):
                platforms = [one.platform for one in found.parsed.platforms()]
            else:
                raw = await registry.small_blob(reference.path, found.parsed.config, LARGEST_CONFIG_BYTES)
                platforms = [Platform.of(json.loads(raw))]
        return {
            "Descriptor": Descriptor(found.media_type, found.digest, len(found.raw)).document(),
            "Platforms": [
                {"os": one.os, "architecture": one.architecture, **({"variant": one.variant} if one.variant else {})}
                for one in platforms
                if one is not None
            ],
        }

    async def log_in(self, auth: Mapping[str, str]) -> dict[str, str]:
        """Return "Check auth configuration": ask the registry whether it takes the credentials."""
        from runtime.image.reference import registry_domain
        from runtime.image.registry import Registry

        async with Registry.open(registry_domain(auth.get("serveraddress") or ""), _credentials(auth)) as registry:
            await registry.check()
        return {"Status": "Login Succeeded", "IdentityToken": ""}


def _credentials(auth: Mapping[str, str] | None) -> Credentials | None:
    from runtime.image.registry_auth import Credentials

    return Credentials.of(auth)


def _names_match(name: str, patterns: Sequence[str]) -> bool:
    from fnmatch import fnmatchcase

    repository = name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name
    for pattern in patterns:
        try:
            full = Reference.parse(pattern).familiar
        except SkiffError:
            full = pattern
        if fnmatchcase(name, pattern) or fnmatchcase(repository, pattern) or (":" in pattern and name == full):
            return True
    return False


async def _in_task(work: Callable[[Callable[[Progress], None]], Any]) -> AsyncGenerator[Progress, None]:
    """Run an async `work(tell)` and yield what it tells; its error is raised at the end."""
    sender, receiver = anyio.create_memory_object_stream[Progress](float("inf"))
    failed: list[SkiffError] = []
    async with anyio.create_task_group() as group:

        async def run() -> None:
            with sender:
                try:
                    await work(sender.send_nowait)
                except SkiffError as error:
                    failed.append(error)

        group.start_soon(run)
        async for message in receiver:
            yield message
    if failed:
        raise failed[0]


def named(images: Images, name: str) -> Image | None:
    """Return the image of `name`, or None."""
    try:
        return images.resolve(name)
    except NotFoundError:
        return None
