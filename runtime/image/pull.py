"""A pull: manifest, configuration and layers from a registry, what is here already left out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import anyio
import anyio.to_thread

from runtime.errors import BadRequestError, NotFoundError
from runtime.image.content import Partial
from runtime.image.exchange import BlobSource
from runtime.image.images import Image, Images
from runtime.image.machine import best
from runtime.image.manifest import LARGEST_CONFIG_BYTES, Descriptor, Index, Manifest, Platform, diff_ids
from runtime.image.reference import Reference
from runtime.image.registry import Found, Registry
from runtime.image.registry_auth import Credentials
from runtime.image.registry_http import TransferError
from runtime.image.retries import ATTEMPTS, pause_after
from runtime.image.transfers import together
from runtime.space import is_full, keep_room

Tell = Callable[[dict[str, Any]], None]
AT_ONCE = 3
WRITE_BYTES = 1 << 20
TELL_EVERY_S = 0.1


@dataclass(frozen=True)
class Available:
    """What a registry has under a name: the manifest or index itself, and the manifest for one platform."""

    top: Found
    chosen: Found
    manifest: Manifest


async def find(registry: BlobSource, reference: Reference, platform: Platform) -> Available:
    """Return what `reference` names for `platform`. Raises NotFoundError when it is there for others alone."""
    top = await registry.manifest(reference)
    chosen = top
    while isinstance(chosen.parsed, Index):
        try:
            entry = chosen.parsed.select(platform, reference.familiar)
        except NotFoundError:
            found = await _untold(registry, reference, chosen.parsed, platform)
            if found is None:
                raise
            chosen = found
            continue
        chosen = await registry.manifest(reference.with_digest(entry.digest))
    return Available(top, chosen, chosen.parsed)


async def _untold(registry: BlobSource, reference: Reference, index: Index, platform: Platform) -> Found | None:
    """Return the best for `platform` of the manifests of which the index does not say what they are for."""
    ranked: list[tuple[int, int, Found]] = []
    for position, one in enumerate(index.untold):
        found = await registry.manifest(reference.with_digest(one.digest))
        if isinstance(found.parsed, Index):
            continue
        raw = await registry.small_blob(reference.path, found.parsed.config, LARGEST_CONFIG_BYTES)
        if (rank := _platform_of(raw).rank(platform)) is not None:
            ranked.append((rank, position, found))
    return min(ranked)[2] if ranked else None


def _platform_of(raw: bytes) -> Platform:
    try:
        document = json.loads(raw)
    except ValueError:
        document = {}
    return Platform.of(document if isinstance(document, dict) else {})


async def pull(
    images: Images,
    reference: Reference,
    *,
    platform: str | None = None,
    credentials: Credentials | None = None,
    progress: Tell,
) -> Image:
    """Pull `reference` for `platform` ("os/architecture[/variant]", this machine's when None) and tag it.

    `progress` takes Docker's JSON messages. Raises EngineError.
    """
    try:
        return await _pull(images, reference, platform, credentials, progress)
    except OSError as error:
        if is_full(error):
            images.collect_garbage()  # what came so far takes the room that is missing
        raise


async def _pull(
    images: Images, reference: Reference, platform: str | None, credentials: Credentials | None, progress: Tell
) -> Image:
    wanted = Platform.parse(platform) if platform else best()
    await anyio.to_thread.run_sync(images.content.trim_partials, frozenset(images.transfers.held))
    async with images.garbage.held_off(), AsyncExitStack() as stack:
        registry, found = await Registry.first_that_answers(
            stack, reference.domain, credentials, lambda registry: find(registry, reference, wanted)
        )
        raw = await _config(images, registry, reference, found.manifest.config)
        if platform:
            _check_platform(raw, wanted, reference)
        progress({"status": f"Pulling from {reference.path}", "id": reference.tag or reference.digest})
        await _fetch_layers(images, registry, reference, f"{reference.domain}/{reference.path}", found, raw, progress)
        return await _adopt(images, reference, found, raw, progress)


@dataclass(frozen=True)
class Fetched:
    """What was fetched for one platform: what the source has, and the bytes of the configuration."""

    available: Available
    raw_config: bytes

    @property
    def config(self) -> dict[str, Any]:
        """The configuration."""
        document: dict[str, Any] = json.loads(self.raw_config)
        return document


async def fetch(
    images: Images, source: BlobSource, reference: Reference, platform: Platform, progress: Tell
) -> Fetched:
    """Fetch the layers of what `source` has for `platform`. No image is made of it.

    For a source that is no registry, so that no layer is remembered to be there. The caller holds off the garbage
    collection. Raises EngineError.
    """
    found = await find(source, reference, platform)
    raw = await _config(images, source, reference, found.manifest.config)
    await _fetch_layers(images, source, reference, None, found, raw, progress)
    return Fetched(found, raw)


async def _fetch_layers(
    images: Images,
    source: BlobSource,
    reference: Reference,
    repository: str | None,
    found: Available,
    raw: bytes,
    progress: Tell,
) -> None:
    layers = diff_ids(raw)
    descriptors = found.manifest.layers
    if len(layers) != len(descriptors):
        raise BadRequestError(
            f"{reference.familiar} has {len(descriptors)} layers and names {len(layers)}", "push it again"
        )
    fetching = _Fetch(images, source, reference, repository, progress)
    async with together() as group:
        for diff_id, descriptor in dict(zip(layers, descriptors, strict=True)).items():
            if images.layers.is_whole(diff_id):
                progress({"status": "Already exists", "progressDetail": {}, "id": short(descriptor.digest)})
                images.layers.know(diff_id, images.layers.blob(diff_id) or descriptor)
            else:
                about = {"id": short(descriptor.digest), "size": descriptor.size}  # `size` is ours: all is known now
                progress({"status": "Pulling fs layer", "progressDetail": {}, **about})
                group.start_soon(fetching.layer, diff_id, descriptor)


async def _adopt(images: Images, reference: Reference, found: Available, raw: bytes, progress: Tell) -> Image:
    repository = f"{reference.domain}/{reference.path}"
    for diff_id, descriptor in zip(diff_ids(raw), found.manifest.layers, strict=True):
        if images.layers.blob(diff_id) == replace(descriptor, platform=None):
            images.layers.know(diff_id, descriptor, repository)
    by_digest = reference.with_digest(found.top.digest)
    try:
        before = images.resolve(str(reference)).id
    except NotFoundError:
        before = ""
    await anyio.to_thread.run_sync(images.content.put, found.chosen.raw)
    image = await images.adopt_config(raw, found.chosen.digest)
    if reference.digest is None:
        images.tag(image, reference)
    images.tag(image, by_digest)
    await images.store.flush()
    progress({"status": f"Digest: {found.top.digest}"})
    state = "Image is up to date" if before == image.id else "Downloaded newer image"
    progress({"status": f"Status: {state} for {reference.familiar}"})
    return images.resolve(image.id)


def short(digest: str) -> str:
    """Return a digest as progress shows it."""
    return digest.partition(":")[2][:12]


async def _config(images: Images, registry: BlobSource, reference: Reference, descriptor: Descriptor) -> bytes:
    if images.content.has(descriptor.digest):
        return images.content.read(descriptor.digest)
    return await registry.small_blob(reference.path, descriptor, LARGEST_CONFIG_BYTES)


def _check_platform(raw: bytes, wanted: Platform, reference: Reference) -> None:
    actual = _platform_of(raw)
    if actual.rank(wanted) is None:
        raise NotFoundError(
            f"image {reference.familiar} is for {actual}, not for {wanted}",
            f"leave --platform out, or pull it with --platform {actual}",
        )


class _Fetch:
    """The layers of one pull, a few at once."""

    def __init__(
        self, images: Images, registry: BlobSource, reference: Reference, repository: str | None, progress: Tell
    ) -> None:
        self._images = images
        self._registry = registry
        self._reference = reference
        self._repository = repository
        self._progress = progress
        self._limit = anyio.Semaphore(AT_ONCE)

    async def layer(self, diff_id: str, descriptor: Descriptor) -> None:
        """Fetch and unpack one layer."""
        id = short(descriptor.digest)
        async with self._limit, self._images.transfers.alone(descriptor.digest):
            if self._images.layers.is_whole(diff_id):
                self._say("Already exists", id)
                return
            if not self._images.content.has(descriptor.digest):
                await self._download(descriptor, id)
            self._say("Download complete", id)
            tell = Meter(self._progress, "Extracting", id, descriptor.size)
            try:
                await self._images.layers.add(self._images.content.path(descriptor.digest), diff_id, tell.from_thread)
            except BadRequestError:
                self._images.content.delete(descriptor.digest)  # whole, but no layer of this image
                raise
            self._images.layers.know(diff_id, descriptor, self._repository)
        self._say("Pull complete", id)

    def _say(self, status: str, id: str) -> None:
        self._progress({"status": status, "progressDetail": {}, "id": id})

    async def _download(self, descriptor: Descriptor, id: str) -> None:
        """Fetch a blob whole; what breaks off is taken up where it was, at once and then after longer pauses."""
        partial = await anyio.to_thread.run_sync(self._images.content.partial, descriptor.digest)
        try:
            attempt = 1
            while True:
                before = partial.size
                try:
                    await self._transfer(descriptor, partial, id)
                    break
                except TransferError as error:
                    has_moved = partial.size > before and error.pause_s is None
                    pause_s = 0.0 if has_moved and attempt < ATTEMPTS else pause_after(error, attempt)
                    if pause_s is None:
                        raise
                    self._say(f"Retrying: {error.message}", id)
                    await anyio.sleep(pause_s)
                    attempt = 1 if has_moved else attempt + 1
            self._say("Verifying Checksum", id)
            await anyio.to_thread.run_sync(partial.commit)
        except OSError as error:
            if is_full(error):
                partial.discard()  # it is the room that is missing
            raise
        finally:
            partial.close()

    async def _transfer(self, descriptor: Descriptor, partial: Partial, id: str) -> None:
        tell = Meter(self._progress, "Downloading", id, descriptor.size)
        if partial.size >= descriptor.size:
            return
        keep_room(self._images.content.partials, descriptor.size - partial.size)
        async with await self._registry.blob(self._reference.path, descriptor, partial.size) as response:
            if partial.size and not response.continues_at(partial.size):
                partial.restart()  # the registry sends it whole
            waiting = bytearray()
            try:
                async for data in response.chunks():
                    waiting += data
                    if partial.size + len(waiting) > descriptor.size:
                        partial.discard()
                        raise BadRequestError(f"blob {descriptor.digest} is longer than its manifest says")
                    if len(waiting) >= WRITE_BYTES:
                        taken, waiting = waiting, bytearray()
                        keep_room(self._images.content.partials, len(taken))
                        await anyio.to_thread.run_sync(partial.write, taken)
                        tell(partial.size)
            finally:
                partial.write(waiting)
            tell(partial.size, is_last=True)
        if partial.size < descriptor.size:
            raise TransferError(f"{self._registry.domain} sent only {partial.size} of {descriptor.size} bytes")


class Meter:
    """Reports how far a transfer is, at most ten times a second."""

    def __init__(self, progress: Tell, status: str, id: str, total: int) -> None:
        self._progress = progress
        self._message = {"status": status, "id": id}
        self._total = total
        self._told = 0.0

    def __call__(self, current: int, *, is_last: bool = False) -> None:
        """Take the bytes done so far."""
        now = time.monotonic()
        if is_last or now - self._told >= TELL_EVERY_S:
            self._told = now
            self._progress({**self._message, "progressDetail": {"current": current, "total": self._total}})

    def from_thread(self, current: int) -> None:
        """Take the bytes done so far, from a worker thread."""
        import anyio.from_thread

        if time.monotonic() - self._told >= TELL_EVERY_S:
            anyio.from_thread.run_sync(self, current)
