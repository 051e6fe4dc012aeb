"""OCI artifacts in registries that are not images: small files in a manifest (OCI distribution specification)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from runtime.errors import BadRequestError
from runtime.image.manifest import Descriptor, Index
from runtime.image.reference import Reference
from runtime.image.registry import Registry
from runtime.image.registry_auth import Credentials, constant

LARGEST_BYTES = 16 << 20


async def push_artifact(
    name: str, manifest: bytes, media_type: str, blobs: Mapping[str, bytes], auth: Mapping[str, str] | None
) -> str:
    """Upload the `blobs` (by digest) that the registry lacks, then `manifest`; return its digest. Raises EngineError."""
    reference = Reference.parse(name)
    if reference.digest is not None:
        raise BadRequestError("cannot push a digest reference", "name a tag")
    async with Registry.open(reference.domain, Credentials.of(auth)) as registry:
        for digest, data in blobs.items():
            if digest != f"sha256:{hashlib.sha256(data).hexdigest()}":
                raise BadRequestError(f"the content of blob {digest} has another digest")
            if not await registry.has_blob(reference.path, digest):
                await registry.upload(reference.path, Descriptor("", digest, len(data)), constant(data))
        await registry.put_manifest(reference, manifest, media_type)
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


async def fetch_artifact(name: str, auth: Mapping[str, str] | None) -> tuple[bytes, str, dict[str, bytes]]:
    """Return the manifest of `name`, its digest, and its layers by digest. Raises EngineError."""
    reference = Reference.parse(name)
    async with Registry.open(reference.domain, Credentials.of(auth)) as registry:
        found = await registry.manifest(reference)
        if isinstance(found.parsed, Index):
            raise BadRequestError(f"{reference.familiar} is an index of images, not an artifact")
        blobs: dict[str, bytes] = {}
        left = LARGEST_BYTES
        for layer in found.parsed.layers:
            if layer.size > left:
                raise BadRequestError(
                    f"{reference.familiar} has more than {LARGEST_BYTES >> 20} MiB of files", "is it a container image?"
                )
            blobs[layer.digest] = await registry.small_blob(reference.path, layer, left)
            left -= len(blobs[layer.digest])
    return found.raw, found.digest, blobs
