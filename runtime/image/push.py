"""A push: layers that the registry lacks, the configuration, then the manifest."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import IO, Any, cast

import anyio
import anyio.to_thread

from runtime.errors import BadRequestError
from runtime.image.content import BlobWriter, ContentStore
from runtime.image.exchange import BlobTarget
from runtime.image.images import Image, Images
from runtime.image.index import Attest, attestation, image_index
from runtime.image.layers import LayerSource
from runtime.image.manifest import (
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    Descriptor,
    Platform,
    image_manifest,
    parse,
)
from runtime.image.pull import Meter, Tell, short
from runtime.image.reference import Reference
from runtime.image.registry import Registry, file_body
from runtime.image.registry_auth import Credentials, constant
from runtime.image.transfers import together

AT_ONCE = 4
COMPRESSION = 6


async def push(images: Images, reference: Reference, *, credentials: Credentials | None = None, progress: Tell) -> str:
    """Push the image called `reference`; return the digest of its manifest there.

    `progress` takes Docker's JSON messages. Raises EngineError.
    """
    image = images.resolve(str(reference))
    if reference.digest is not None:
        raise BadRequestError("cannot push a digest reference", "tag the image, and push the tag")
    async with images.garbage.held_off(), Registry.open(reference.domain, credentials) as registry:
        progress({"status": f"The push refers to repository [{reference.domain}/{reference.path}]"})
        upload = _Upload(images, registry, reference, f"{reference.domain}/{reference.path}", progress)
        descriptors: dict[str, Descriptor] = {}
        written: dict[str, str] = {}

        async def one(diff_id: str) -> None:
            descriptors[diff_id], written[diff_id] = await upload.layer(diff_id)

        async with together() as group:
            for diff_id in dict.fromkeys(image.diff_ids):
                progress({"status": "Preparing", "progressDetail": {}, "id": short(diff_id)})
                group.start_soon(one, diff_id)
        raw, kind = await _manifest(images, image, upload, descriptors, written)
        await registry.put_manifest(reference, raw, kind)
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        if kind == DOCKER_MANIFEST or image.manifest == digest:
            images.tag(image, reference.with_digest(digest))
        progress({"status": f"{reference.tag}: digest: {digest} size: {len(raw)}"})
        progress({"progressDetail": {}, "aux": {"Tag": reference.tag, "Digest": digest, "Size": len(raw)}})
        return digest


async def push_index(
    images: Images,
    reference: Reference,
    wanted: Sequence[Image],
    attest: Attest,
    *,
    credentials: Credentials | None = None,
    progress: Tell,
) -> str:
    """Push images of several platforms as one index called `reference`; return the digest of the index.

    `attest` returns the statements about each image. `progress` takes Docker's JSON messages. Raises EngineError.
    """
    async with Registry.open(reference.domain, credentials) as registry:
        repository = f"{reference.domain}/{reference.path}"
        index = await write_index(images, registry, reference, wanted, attest, repository=repository, progress=progress)
        progress({"status": f"{reference.tag}: digest: {index.digest} size: {index.size}"})
        return index.digest


async def write_index(
    images: Images,
    target: BlobTarget,
    reference: Reference,
    wanted: Sequence[Image],
    attest: Attest,
    *,
    repository: str | None = None,
    progress: Tell,
) -> Descriptor:
    """Write images of several platforms to `target` as one index called `reference`; return the index.

    `attest` returns the statements about each image. Layers are remembered to be in `repository`, where that is given.
    `progress` takes Docker's JSON messages. Raises EngineError.
    """
    async with images.garbage.held_off():
        upload = _Upload(images, target, reference, repository, progress)
        described, attestations = [], []
        for image in wanted:
            found = [await upload.layer(diff_id) for diff_id in image.diff_ids]
            document = {**image.config, "rootfs": {"type": "layers", "diff_ids": [written for _, written in found]}}
            raw = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
            config = Descriptor(OCI_CONFIG, f"sha256:{hashlib.sha256(raw).hexdigest()}", len(raw))
            await upload.small(config, raw)
            manifest_raw, kind = image_manifest(config, [layer for layer, _ in found], is_oci=True)
            digest = f"sha256:{hashlib.sha256(manifest_raw).hexdigest()}"
            await target.put_manifest(reference.with_digest(digest), manifest_raw, kind)
            platform = Platform.of(image.config)
            described.append((Descriptor(kind, digest, len(manifest_raw)), platform))
            if statements := attest(platform, digest):
                manifest, blobs = attestation(statements)
                for blob in blobs:
                    await upload.small(blob.descriptor, blob.raw)
                about = manifest.descriptor
                await target.put_manifest(reference.with_digest(about.digest), manifest.raw, about.media_type)
                attestations.append((about, digest))
        index = image_index(described, attestations)
        await target.put_manifest(reference, index.raw, index.descriptor.media_type)
        return index.descriptor


async def _manifest(
    images: Images,
    image: Image,
    upload: _Upload,
    descriptors: dict[str, Descriptor],
    written: dict[str, str],
) -> tuple[bytes, str]:
    """Upload the configuration; return the manifest, the very one that the image was pulled with where it still fits."""
    layers = [descriptors[diff_id] for diff_id in image.diff_ids]
    raw_config = images.content.read(image.id)
    if image.manifest is not None and images.content.has(image.manifest):
        raw = images.content.read(image.manifest)
        kept: Any = parse(raw, "")
        if [layer.digest for layer in kept.layers] == [layer.digest for layer in layers]:
            await upload.small(kept.config, raw_config)
            return raw, json.loads(raw).get("mediaType") or "application/vnd.oci.image.manifest.v1+json"
    diff_ids = [written[diff_id] for diff_id in image.diff_ids]
    if diff_ids != list(image.diff_ids):
        # a layer that had to be packed again may differ in its bytes: then the configuration follows it
        config = {**json.loads(raw_config), "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        raw_config = json.dumps(config, separators=(",", ":"), sort_keys=True).encode()
    digest = f"sha256:{hashlib.sha256(raw_config).hexdigest()}"
    described = Descriptor(DOCKER_CONFIG, digest, len(raw_config))
    await upload.small(described, raw_config)
    return image_manifest(described, layers)


class _Upload:
    """The blobs of one push; `repository` is what they are remembered to be in afterwards."""

    def __init__(
        self, images: Images, registry: BlobTarget, reference: Reference, repository: str | None, progress: Tell
    ) -> None:
        self._images = images
        self._registry = registry
        self._path = reference.path
        self._repository = repository
        self._domain = reference.domain
        self._progress = progress
        self._limit = anyio.Semaphore(AT_ONCE)

    async def small(self, descriptor: Descriptor, raw: bytes) -> None:
        """Upload a small blob, unless it is there."""
        if not await self._registry.has_blob(self._path, descriptor.digest):
            await self._registry.upload(self._path, replace(descriptor, size=len(raw)), constant(raw))

    async def layer(self, diff_id: str) -> tuple[Descriptor, str]:
        """Bring a layer's blob to the registry; return it, and the diff ID that its content has."""
        layers, id = self._images.layers, short(diff_id)
        async with self._limit:
            known = layers.blob(diff_id)
            if known is not None and await self._is_there(diff_id, known, id):
                return known, diff_id
            if known is not None and self._images.content.has(known.digest):
                await self._send(known, id)
                layers.know(diff_id, known, self._repository)
                return known, diff_id
            # an archive that was made for this is kept only until it is sent: the same comes out the next time
            packed, written = await anyio.to_thread.run_sync(_compress, layers.source(diff_id), self._images.content)
            try:
                if not await self._registry.has_blob(self._path, packed.digest):
                    await self._send(packed, id)
                else:
                    self._say("Layer already exists", id)
            finally:
                if known is None or known.digest != packed.digest:
                    self._images.content.delete(packed.digest)
            if written == diff_id:
                layers.know(diff_id, packed, self._repository)
            return packed, written

    async def _is_there(self, diff_id: str, blob: Descriptor, id: str) -> bool:
        if await self._registry.has_blob(self._path, blob.digest):
            self._say("Layer already exists", id)
            self._images.layers.know(diff_id, blob, self._repository)
            return True
        for repository in self._images.layers.repositories(diff_id):
            domain, _, source = repository.partition("/")
            is_candidate = domain == self._domain and source != self._path
            if is_candidate and await self._registry.mount(self._path, blob.digest, source):
                self._say(f"Mounted from {source}", id)
                self._images.layers.know(diff_id, blob, self._repository)
                return True
        return False

    async def _send(self, descriptor: Descriptor, id: str) -> None:
        meter = Meter(self._progress, "Pushing", id, descriptor.size)
        body = file_body(self._images.content.path(descriptor.digest), meter)
        await self._registry.upload(self._path, descriptor, body)
        self._say("Pushed", id)

    def _say(self, status: str, id: str) -> None:
        self._progress({"status": status, "progressDetail": {}, "id": id})


def _compress(source: LayerSource, content: ContentStore) -> tuple[Descriptor, str]:
    """Pack and compress a layer into the content store; return the blob and its diff ID. Blocking."""
    # without name and time in its header, the same layer gives the same bytes
    options: dict[str, Any] = {"filename": "", "mode": "wb", "compresslevel": COMPRESSION, "mtime": 0}
    with content.write() as blob, gzip.GzipFile(fileobj=cast(IO[bytes], blob), **options) as out:
        plain = BlobWriter(cast(Any, out))
        source.write(cast(IO[bytes], plain))
    return Descriptor(DOCKER_LAYER_GZIP, blob.digest, blob.size), plain.digest
