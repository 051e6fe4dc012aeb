"""Image indexes that builds make: one image for each platform, with attestations of how it was built. Pure.

Source: OCI image specification, "Image Index"; Docker documentation, "Image attestation storage".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.image.manifest import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Descriptor, Platform

IN_TOTO = "application/vnd.in-toto+json"
_REFERENCE = "vnd.docker.reference"


@dataclass(frozen=True)
class Statement:
    """An in-toto statement about an image: its JSON, and what type its predicate is of."""

    raw: bytes
    predicate_type: str


@dataclass(frozen=True)
class IndexDocument:
    """A JSON document as a blob."""

    descriptor: Descriptor
    raw: bytes


Attest = Callable[[Platform, str], Sequence[Statement]]
"""Returns the statements about the image of a platform whose manifest has a digest."""


def document(media_type: str, content: Any) -> IndexDocument:
    """Return `content` as a blob of `media_type`."""
    raw = content if isinstance(content, bytes) else json.dumps(content, indent=2).encode()
    return IndexDocument(Descriptor(media_type, f"sha256:{hashlib.sha256(raw).hexdigest()}", len(raw)), raw)


def attestation(statements: Sequence[Statement]) -> tuple[IndexDocument, list[IndexDocument]]:
    """Return the manifest that holds `statements`, and the blobs that it names."""
    blobs = [document(IN_TOTO, statement.raw) for statement in statements]
    config = document(
        OCI_CONFIG,
        {
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [blob.descriptor.digest for blob in blobs]},
        },
    )
    layers = [
        {**blob.descriptor.document(), "annotations": {"in-toto.io/predicate-type": statement.predicate_type}}
        for blob, statement in zip(blobs, statements, strict=True)
    ]
    manifest = document(
        OCI_MANIFEST,
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config.descriptor.document(),
            "layers": layers,
        },
    )
    return manifest, [config, *blobs]


def image_index(
    images: Sequence[tuple[Descriptor, Platform]], attestations: Sequence[tuple[Descriptor, str]]
) -> IndexDocument:
    """Return the index of `images`; each of `attestations` comes with the digest of the image that it is about."""
    entries: list[dict[str, Any]] = [
        {**descriptor.document(), "platform": platform_document(platform)} for descriptor, platform in images
    ]
    entries += [
        {
            **descriptor.document(),
            "annotations": {f"{_REFERENCE}.type": "attestation-manifest", f"{_REFERENCE}.digest": subject},
            "platform": {"architecture": "unknown", "os": "unknown"},
        }
        for descriptor, subject in attestations
    ]
    return document(OCI_INDEX, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})


def platform_document(platform: Platform) -> dict[str, str]:
    """Return a platform as descriptors have it."""
    found = {"architecture": platform.architecture, "os": platform.os, "variant": platform.variant}
    return {name: value for name, value in found.items() if value}
