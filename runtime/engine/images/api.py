"""Operations on images as in the Docker Engine API."""

from __future__ import annotations

import builtins
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from runtime.bodies import Authentication
from runtime.engine.containers.table import ContainerTable
from runtime.engine.containers.views.configuration import config_view
from runtime.engine.events import EventBus
from runtime.engine.filters import DELETED, UNTAGGED, Filters, Report, check_known, flag, labels_match, may_be_pruned
from runtime.engine.times import moment, parse_rfc3339, rfc3339
from runtime.errors import BadRequestError, NotFoundError, SkiffError
from runtime.image import archive, bootstrap
from runtime.image.images import Image, Images
from runtime.image.index import Attest
from runtime.image.reference import Reference, is_whole
from runtime.image.transfers import load_registry_client
from runtime.paths import Paths
from runtime.streaming import Send, send_reports

if TYPE_CHECKING:
    from runtime.image.registry_auth import Credentials

ProgressMessage = dict[str, Any]
READ_BYTES = 1 << 20
NEVER = "0001-01-01T00:00:00Z"


LIST_FILTERS = ("before", "dangling", "label", "reference", "since", "until")
PRUNE_FILTERS = ("dangling", "label", "label!", "until")


@dataclass(frozen=True, eq=False)
class ImageApi:
    """Docker's image operations."""

    paths: Paths
    images: Images
    table: ContainerTable
    events: EventBus

    def list(self, filters: Filters) -> list[dict[str, Any]]:
        """Return the answer of "List images". Raises BadRequestError on an unknown filter."""
        check_known(filters, LIST_FILTERS)
        return [self.row(image) for image in self.images.list() if self._passes(image, filters)]

    def shared_bytes(self) -> dict[str, int]:
        """Return image ID → the size in bytes of the layers that other images have too."""
        images = self.images.list()
        holders = Counter(diff_id for image in images for diff_id in set(image.diff_ids))
        size = self.images.layers.size
        return {image.id: sum(size(one) for one in set(image.diff_ids) if holders[one] > 1) for image in images}

    def _passes(self, image: Image, filters: Filters) -> bool:
        names = [Reference.parse(reference).familiar for reference in image.references]
        created = image.config.get("created") or ""
        checks: dict[str, Callable[[Sequence[str]], bool]] = {
            "reference": lambda values: any(_names_match(name, values) for name in names),
            "label": lambda values: labels_match(image.defaults.get("Labels") or {}, values),
            "dangling": lambda values: flag("dangling", values) != bool(names),
            "before": lambda values: all(_created_ns(image) < self._created_ns(name) for name in values),
            "since": lambda values: all(_created_ns(image) > self._created_ns(name) for name in values),
            "until": lambda values: all(parse_rfc3339(created) < moment(value, time.time_ns()) for value in values),
        }
        return all(checks[key](values) for key, values in filters.items() if values)

    def _created_ns(self, name: str) -> int:
        return _created_ns(self.images.resolve(name))

    def row(self, image: Image) -> dict[str, Any]:
        """Return the item of "List images" for an image."""
        return {
            "Id": image.id,
            "ParentId": self._parent(image),
            "RepoTags": [Reference.parse(reference).familiar for reference in image.references],
            "RepoDigests": [Reference.parse(digest).familiar for digest in image.digests],
            "Created": _created_ns(image) // 1_000_000_000,
            "Size": image.size_bytes,
            "SharedSize": -1,
            "Labels": image.defaults.get("Labels"),
            "Containers": -1,
        }

    def inspect(self, name: str) -> dict[str, Any]:
        """Return the answer of "Inspect an image", as the oldest version of the API has it."""
        image = self.images.resolve(name)
        tagged_s = self.images.tagged_s(image)
        history = image.config.get("history") or ()
        layers = [str(directory) for directory in self.images.layer_places(image)]
        data = {"MergedDir": "", "UpperDir": layers[0] if layers else "", "WorkDir": ""}
        if layers[1:]:
            data["LowerDir"] = ":".join(layers[1:])
        return {
            "Id": image.id,
            "RepoTags": [Reference.parse(reference).familiar for reference in image.references if not image.rootfs],
            "RepoDigests": [Reference.parse(digest).familiar for digest in image.digests],
            "Parent": self._parent(image),
            "Comment": image.config.get("comment") or (history[-1].get("comment") if history else "") or "",
            "Created": image.config.get("created") or "",
            "Author": image.config.get("author") or "",
            "DockerVersion": "",
            "Config": config_view(image.defaults, ""),
            "Architecture": image.config.get("architecture") or "",
            **({"Variant": image.config["variant"]} if image.config.get("variant") else {}),
            "Os": image.config.get("os") or "linux",
            "Size": image.size_bytes,
            "GraphDriver": {"Name": "overlay2", "Data": data},
            "RootFS": {"Type": "layers", "Layers": [*image.diff_ids]},
            "Metadata": {"LastTagTime": rfc3339(int(tagged_s * 1e9)) if tagged_s else NEVER},
        }

    def _parent(self, image: Image) -> str:
        return image.parent if image.parent and self.images.get(image.parent) else ""

    def history(self, name: str) -> builtins.list[dict[str, Any]]:
        """Return the answer of "Get the history of an image", newest step first."""
        image = self.images.resolve(name)
        layers = iter(image.diff_ids)
        steps = []
        for step in image.config.get("history") or ():
            layer = None if step.get("empty_layer") else next(layers, None)
            steps.append(
                {
                    "Id": "<missing>",
                    "Created": parse_rfc3339(step.get("created") or "") // 1_000_000_000,
                    "CreatedBy": step.get("created_by") or "",
                    "Tags": None,
                    "Size": self.images.layers.size(layer) if layer else 0,
                    "Comment": step.get("comment") or "",
                }
            )
        for ancestor in self._line_of(image):
            if 0 < (count := len(ancestor.config.get("history") or ())) <= len(steps):
                names = [Reference.parse(reference).familiar for reference in ancestor.references]
                is_own = ancestor is image
                steps[count - 1] |= {"Id": ancestor.id, "Tags": names if names or is_own else None}
        steps.reverse()
        return steps

    def _line_of(self, image: Image) -> Iterator[Image]:
        """Yield the image and those that it was committed from, as far as they are here."""
        seen: set[str] = set()
        while image.id not in seen:
            seen.add(image.id)
            yield image
            try:
                image = self.images.resolve(image.parent) if image.parent else image
            except NotFoundError:
                return

    def tag(self, name: str, repository: str, tag: str) -> None:
        """Add a name to an image. Raises EngineError."""
        image = self.images.resolve(name)
        reference = Reference.parse(f"{repository}:{tag}" if tag else repository)
        if reference.digest is not None:
            raise BadRequestError("refusing to create a tag with a digest reference")
        self.images.tag(image, reference)
        self.events.emit_image("tag", image, reference.familiar)

    def _emit_gone(self, image: Image, done: Mapping[str, str]) -> None:
        """Emit what happened to an image for a row of Docker's list; of one that is deleted there are no labels left."""
        if "Untagged" in done:
            self.events.emit_image("untag", image, image.id)
        else:
            self.events.emit("image", "delete", image.id, {"name": image.id})

    async def remove(self, name: str, *, force: bool = False) -> builtins.list[dict[str, str]]:
        """Remove a name or an image; return Docker's list of what was removed. Raises EngineError."""
        image = self.images.resolve(name)
        done = self.images.remove(name, force=force, in_use=self.table.user_of_image)
        for one in done:
            self._emit_gone(image, one)
        return done

    async def prune(self, filters: Filters, report: Report) -> dict[str, Any]:
        """Remove images that no container uses: those without a name, or all with `dangling=false`."""
        check_known(filters, PRUNE_FILTERS)
        only_dangling = flag("dangling", filters.get("dangling") or ["true"])
        now_ns = time.time_ns()
        deleted: builtins.list[dict[str, str]] = []
        before = self._layers_bytes()
        for image in self.images.list():
            if (only_dangling and image.references) or self.table.user_of_image(image.id):
                continue
            if not may_be_pruned(filters, image.defaults.get("Labels") or {}, _created_ns(image), now_ns):
                continue
            done = self.images.remove(image.id, force=True, in_use=self.table.user_of_image)
            for one in done:
                self._emit_gone(image, one)
                if "Untagged" in one:
                    report(one["Untagged"], UNTAGGED)
                else:
                    report(one["Deleted"], DELETED)
            deleted += done
        freed = before - self._layers_bytes()
        self.events.emit("image", "prune", "", {"reclaimed": str(freed)})
        return {"ImagesDeleted": deleted or None, "SpaceReclaimed": freed}

    def _layers_bytes(self) -> int:
        layers = {diff_id for image in self.images.list() for diff_id in image.diff_ids}
        return sum(self.images.layers.size(diff_id) for diff_id in layers)

    async def load(self, source: AsyncIterator[bytes], send: Send[ProgressMessage]) -> None:
        """Load a `docker save` archive or an OCI layout; send Docker's progress messages."""
        with tempfile.NamedTemporaryFile(dir=self.images.scratch(), prefix="load-") as spool:
            async for data in source:
                await anyio.to_thread.run_sync(spool.write, data)
            spool.flush()
            path = Path(spool.name)
            loaded: list[Image] = []

            async def work(report: Callable[[ProgressMessage], None]) -> None:
                loaded.extend(await archive.load(self.images, path, report))

            await send_reports(work, send)
        for image in loaded:
            self.events.emit_image("load", image, image.id)

    async def save(self, names: Sequence[str], send: Send[bytes], *, tags: Sequence[str] = ()) -> None:
        """Send an archive of the images `names`; `tags` are additional names for them in the archive."""
        wanted = [replace(one, tags=(*one.tags, *tags)) for one in archive.exports(self.images, names)]
        with tempfile.TemporaryFile(dir=self.images.scratch(), prefix="save-") as spool:
            async with self.images.garbage.held_off():
                await anyio.to_thread.run_sync(archive.save, wanted, spool, self.paths.tmp)
            for image in {image.id: image for image in map(self.images.resolve, names)}.values():
                self.events.emit_image("save", image, image.id)
            spool.seek(0)
            while data := await anyio.to_thread.run_sync(spool.read, READ_BYTES):
                await send(data)

    async def save_index(self, ids: Sequence[str], send: Send[bytes], *, tags: Sequence[str], attest: Attest) -> str:
        """Send an OCI layout of the images `ids` as one index with the names `tags`; return the index's digest."""
        wanted = archive.exports(self.images, ids)
        with tempfile.TemporaryFile(dir=self.images.scratch(), prefix="save-") as spool:
            async with self.images.garbage.held_off():
                digest = await anyio.to_thread.run_sync(archive.save_index, wanted, tags, attest, spool, self.paths.tmp)
            spool.seek(0)
            while data := await anyio.to_thread.run_sync(spool.read, READ_BYTES):
                await send(data)
        return digest

    async def push_index(
        self,
        reference: Reference,
        wanted: Sequence[Image],
        attest: Attest,
        *,
        auth: Mapping[str, str] | None = None,
    ) -> str:
        """Push images of several platforms as one index called `reference`; return its digest."""
        await load_registry_client()
        from runtime.image.push import push_index

        credentials = _credentials(auth)
        return await push_index(
            self.images, reference, wanted, attest, credentials=credentials, progress=lambda _: None
        )

    async def bootstrap(self, name: str, send: Send[ProgressMessage]) -> None:
        """Create a Debian base image; send progress messages."""
        cache = bootstrap.cache_directory(os.environ, os.getuid())
        await send_reports(lambda report: bootstrap.bootstrap(self.images, name, cache, report), send)

    async def pull(
        self,
        name: str,
        send: Send[ProgressMessage],
        *,
        platform: str | None = None,
        auth: Mapping[str, str] | None = None,
    ) -> None:
        """Pull an image, or all tags of a repository if `name` is only that; send Docker's progress messages."""
        await load_registry_client()
        from runtime.image.pull import pull
        from runtime.image.registry import Registry

        reference = Reference.parse(name)
        credentials = _credentials(auth)

        async def work(report: Callable[[ProgressMessage], None]) -> None:
            wanted = [reference]
            if not is_whole(name):
                async with AsyncExitStack() as stack:
                    _, tags = await Registry.first_that_answers(
                        stack, reference.domain, credentials, lambda registry: registry.tags(reference.path)
                    )
                wanted = [replace(reference, tag=tag) for tag in tags]
            for one in wanted:
                image = await pull(self.images, one, platform=platform, credentials=credentials, progress=report)
                self.events.emit_image("pull", image, one.familiar)

        await send_reports(work, send)

    async def push(self, name: str, send: Send[ProgressMessage], *, auth: Mapping[str, str] | None = None) -> None:
        """Push an image to its registry; send Docker's progress messages."""
        await load_registry_client()
        from runtime.image.push import push

        reference = Reference.parse(name)
        try:
            image = self.images.resolve(str(reference))
        except NotFoundError as error:
            await send({"status": f"The push refers to repository [{reference.domain}/{reference.path}]"})
            text = f"An image does not exist locally with the tag: {reference.name}"
            raise NotFoundError(text, error.hint) from error
        credentials = _credentials(auth)
        await send_reports(lambda report: push(self.images, reference, credentials=credentials, progress=report), send)
        self.events.emit_image("push", image, reference.familiar)

    async def pull_for_build(
        self,
        reference: Reference,
        platform: str | None,
        progress: Callable[[ProgressMessage], None],
        auth: Mapping[str, str] | None,
    ) -> Image:
        """Pull an image that a build names (see `runtime.build.builder.Puller`)."""
        await load_registry_client()
        from runtime.image.pull import pull

        credentials = _credentials(auth)
        image = await pull(self.images, reference, platform=platform, credentials=credentials, progress=progress)
        self.events.emit_image("pull", image, reference.familiar)
        return image

    async def distribution(self, name: str, *, auth: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the answer of "Get image information from the registry"."""
        await load_registry_client()
        from runtime.image.manifest import LARGEST_CONFIG_BYTES, Descriptor, Index, Platform
        from runtime.image.registry import Registry

        reference = Reference.parse(name)
        async with AsyncExitStack() as stack:
            registry, found = await Registry.first_that_answers(
                stack, reference.domain, _credentials(auth), lambda registry: registry.manifest(reference)
            )
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

    async def log_in(self, auth: Authentication) -> dict[str, str]:
        """Return the answer of "Check auth configuration", after a request to the registry. Raises EngineError."""
        await load_registry_client()
        from runtime.image.reference import registry_domain
        from runtime.image.registry import Registry

        async with Registry.open(registry_domain(auth.get("serveraddress") or ""), _credentials(auth)) as registry:
            await registry.check()
        return {"Status": "Login Succeeded", "IdentityToken": ""}


def _created_ns(image: Image) -> int:
    return parse_rfc3339(image.config.get("created") or "")


def _credentials(auth: Mapping[str, Any] | None) -> Credentials | None:
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
