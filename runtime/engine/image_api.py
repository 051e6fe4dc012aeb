"""Images as the Docker Engine API knows them."""

from __future__ import annotations

import builtins
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread

from runtime.engine.containers import Containers
from runtime.engine.events import EventBus
from runtime.engine.filters import labels_match
from runtime.engine.state import parse_rfc3339
from runtime.errors import NotFoundError, SkiffError, UnavailableError
from runtime.image import archive, bootstrap
from runtime.image.images import Image, Images
from runtime.image.reference import Reference
from runtime.paths import Paths

Progress = dict[str, Any]


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
                    "RepoDigests": [],
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
            "RepoDigests": [],
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
        return done

    def prune(self, filters: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """Remove images that no container uses: those without a name, or all with `dangling=false`."""
        only_dangling = (filters.get("dangling") or ["true"])[0] in ("true", "1")
        deleted: builtins.list[dict[str, str]] = []
        before = sum(image.size_bytes for image in self._images.list())
        for image in self._images.list():
            if (only_dangling and image.references) or self._containers.user_of_image(image.id):
                continue
            deleted += self._images.remove(image.id, force=True, in_use=self._containers.user_of_image)
        after = sum(image.size_bytes for image in self._images.list())
        return {"ImagesDeleted": deleted or None, "SpaceReclaimed": before - after}

    async def load(self, source: AsyncIterator[bytes]) -> AsyncGenerator[Progress, None]:
        """Load a `docker save` archive or an OCI layout; yields Docker's progress messages."""
        self._paths.tmp.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._paths.tmp, prefix="load-") as spool:
            async for data in source:
                spool.write(data)
            spool.flush()
            path = Path(spool.name)
            async for message in _in_thread(lambda tell: archive.load(self._images, path, tell)):
                yield message

    async def save(self, names: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """Yield an archive of the images `names`."""
        for name in names:
            self._images.resolve(name)
        self._paths.tmp.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._paths.tmp, prefix="save-") as spool:
            await anyio.to_thread.run_sync(archive.save, self._images, names, spool, self._paths.tmp)
            spool.seek(0)
            while data := spool.read(1 << 20):
                yield data

    async def bootstrap(self, name: str) -> AsyncGenerator[Progress, None]:
        """Make a Debian base image; yields progress messages."""
        cache = bootstrap.cache_directory(os.environ, os.getuid())
        async for message in _in_thread(lambda tell: bootstrap.bootstrap(self._images, name, cache, tell)):
            yield message

    async def pull(
        self, name: str, *, platform: str | None = None, auth: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Progress, None]:
        """Pull an image from its registry; yields Docker's progress messages."""
        reference = Reference.parse(name)
        pull = getattr(self._images, "pull", None)
        if pull is None:
            raise UnavailableError(f"{reference.familiar} can't be pulled: this engine has no registry client yet")
        async for message in _in_task(lambda tell: pull(reference, platform=platform, auth=auth, progress=tell)):
            yield message
        self._tell("pull", self._images.resolve(name), reference.familiar)

    async def push(self, name: str, *, auth: Mapping[str, str] | None = None) -> AsyncGenerator[Progress, None]:
        """Push an image to its registry; yields Docker's progress messages."""
        reference = Reference.parse(name)
        self._images.resolve(name)
        push = getattr(self._images, "push", None)
        if push is None:
            raise UnavailableError(f"{reference.familiar} can't be pushed: this engine has no registry client yet")
        async for message in _in_task(lambda tell: push(reference, auth=auth, progress=tell)):
            yield message


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


async def _in_thread(work: Callable[[Callable[[Progress], None]], object]) -> AsyncGenerator[Progress, None]:
    """Run blocking `work(tell)` in a thread and yield what it tells; its error is raised at the end."""

    async def in_thread(tell: Callable[[Progress], None]) -> None:
        def tell_from_thread(message: Progress) -> None:
            anyio.from_thread.run_sync(tell, message)

        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(work, tell_from_thread)

    async for message in _in_task(in_thread):
        yield message


def named(images: Images, name: str) -> Image | None:
    """Return the image of `name`, or None."""
    try:
        return images.resolve(name)
    except NotFoundError:
        return None
