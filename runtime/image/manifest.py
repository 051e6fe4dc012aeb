"""Manifests, indexes and platforms (OCI image specification; Docker image manifest version 2, schema 2). Pure."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runtime.bodies import ImageConfig
from runtime.errors import BadRequestError, NotFoundError
from runtime.shapes import fitted, shape_of

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
SCHEMA_1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
ACCEPTED = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)
LARGEST_CONFIG_BYTES = 16 << 20
LAST_RANK = 99
LEVEL = 1
"""The level of an amd64 processor where no variant says another."""

_ARCHITECTURES = {
    "x86_64": ("amd64", ""), "x86-64": ("amd64", ""), "aarch64": ("arm64", ""), "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"), "armhf": ("arm", "v7"), "armel": ("arm", "v6"), "i386": ("386", ""), "i686": ("386", ""),
}  # fmt: skip


@dataclass(frozen=True)
class Platform:
    """What an image runs on."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def host(cls) -> Platform:
        """Return this machine's platform."""
        return cls.parse(f"linux/{os.uname().machine}")

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Return the platform of `os/architecture[/variant]`, or of an architecture alone. Raises BadRequestError."""
        parts = text.strip().lower().split("/")
        if not all(parts) or len(parts) > 3:
            raise BadRequestError(f"invalid platform {text!r}", "write OS/ARCHITECTURE[/VARIANT], like linux/arm64")
        if len(parts) == 1:
            parts = ["linux", *parts] if parts[0] != "linux" else ["linux", os.uname().machine]
        architecture, variant = _ARCHITECTURES.get(parts[1], (parts[1], ""))
        return cls(parts[0], architecture, parts[2] if len(parts) == 3 else variant)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Platform:
        """Return the platform that a descriptor or an image configuration names."""
        written = str(document.get("architecture") or "")
        architecture, variant = _ARCHITECTURES.get(written, (written, ""))
        return cls(str(document.get("os") or "linux"), architecture, str(document.get("variant") or variant))

    def rank(self, wanted: Platform) -> int | None:
        """Return how well this fits `wanted`, 0 best; None when it does not run there.

        Of arm and amd64 lower variants fit as well, the nearest best, and on amd64 what is for 386 after all of them.
        """
        if self.os != wanted.os:
            return None
        if (self.architecture, wanted.architecture) == ("386", "amd64"):
            return LAST_RANK
        if self.architecture != wanted.architecture:
            return None
        have, want = _variant(self), _variant(wanted)
        if have == want:
            return 0
        if self.architecture in ("arm", "amd64") and have[1:].isdigit() and want[1:].isdigit():
            below = int(want[1:]) - int(have[1:])
            return below if below > 0 else None
        return 1 if not self.variant else None

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}" + (f"/{self.variant}" if self.variant else "")


def _variant(platform: Platform) -> str:
    default = {"arm64": "v8", "arm": "v7", "amd64": f"v{LEVEL}"}.get(platform.architecture, "")
    return platform.variant or default


@dataclass(frozen=True)
class Descriptor:
    """A blob that a manifest names (OCI content descriptor); `size` in bytes."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None

    @classmethod
    def of(cls, document: Any) -> Descriptor:
        """Return the descriptor of its JSON. Raises BadRequestError."""
        try:
            digest, size = document["digest"], document["size"]
            platform = document.get("platform")
            if not isinstance(digest, str) or not isinstance(size, int) or size < 0:
                raise TypeError
            return cls(document.get("mediaType") or "", digest, size, Platform.of(platform) if platform else None)
        except (KeyError, TypeError, AttributeError) as error:
            raise BadRequestError(f"the manifest has a malformed descriptor: {str(document)[:200]}") from error

    def document(self) -> dict[str, Any]:
        """Return its JSON."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True)
class Manifest:
    """One image: its configuration and its layers, the lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True)
class Index:
    """The same image for several platforms."""

    manifests: tuple[Descriptor, ...]

    def select(self, wanted: Platform, name: str) -> Descriptor:
        """Return the manifest for `wanted`; `name` is the image, for the error.

        Raises NotFoundError, which lists what there is.
        """
        ranked = [
            (rank, position)
            for position, one in enumerate(self.manifests)
            if one.platform is not None and (rank := one.platform.rank(wanted)) is not None
        ]
        if ranked:
            return self.manifests[min(ranked)[1]]
        offered = sorted({str(one.platform) for one in self.platforms()})
        raise NotFoundError(
            f"no matching manifest for {wanted} in the manifest list entries of {name}",
            f"it is there for: {', '.join(offered) or 'no platform at all'}; choose one with --platform",
        )

    @property
    def untold(self) -> list[Descriptor]:
        """The manifests of which it does not say what they are for: their configurations do."""
        return [one for one in self.manifests if one.platform is None]

    def platforms(self) -> list[Descriptor]:
        """Return the manifests of real platforms: attestations are listed as unknown/unknown."""
        return [one for one in self.manifests if one.platform is not None and one.platform.os != "unknown"]


def parse(raw: bytes, media_type: str) -> Manifest | Index:
    """Return what `raw` is; `media_type` is what the registry called it. Raises BadRequestError."""
    try:
        document = json.loads(raw)
    except ValueError as error:
        raise BadRequestError("the manifest is no JSON") from error
    if not isinstance(document, dict):
        raise BadRequestError("the manifest is no JSON object")
    kind = document.get("mediaType") or media_type
    if kind in SCHEMA_1 or document.get("schemaVersion") == 1:
        raise BadRequestError(
            "the image has a schema 1 manifest, a format given up in 2016", "push it again with a current tool"
        )
    if "manifests" in document and "layers" not in document:
        return Index(tuple(Descriptor.of(one) for one in _list(document, "manifests")))
    if "config" not in document or "layers" not in document:
        raise BadRequestError(f"the manifest of type {kind or 'unknown'} is neither an image nor an index")
    return Manifest(Descriptor.of(document["config"]), tuple(Descriptor.of(one) for one in _list(document, "layers")))


def _list(document: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = document[name]
    if not isinstance(value, list):
        raise BadRequestError(f"the manifest's {name} is no list")
    return value


def diff_ids(raw_config: bytes) -> list[str]:
    """Return the diff IDs of an image configuration. Raises BadRequestError when it is none."""
    try:
        document = json.loads(raw_config)
        found = document["rootfs"]["diff_ids"]
        if not isinstance(found, list) or not all(isinstance(one, str) and one.startswith("sha256:") for one in found):
            raise TypeError
    except (ValueError, KeyError, TypeError) as error:
        raise BadRequestError("it is no container image: its configuration names no layers") from error
    try:
        fitted(document, shape_of(ImageConfig))
    except BadRequestError as error:
        reason = str(error).removeprefix("invalid JSON: ")
        raise BadRequestError(f"the image's configuration is not valid: {reason}") from error
    return found


@dataclass(frozen=True)
class _Family:
    """The media types that belong together in one manifest; `layers` by how they are compressed."""

    manifest: str
    config: str
    layers: Mapping[str, str]


_DOCKER = _Family(
    DOCKER_MANIFEST, DOCKER_CONFIG, {"": "application/vnd.docker.image.rootfs.diff.tar", "gzip": DOCKER_LAYER_GZIP}
)
_OCI = _Family(
    OCI_MANIFEST,
    OCI_CONFIG,
    {
        compression: f"application/vnd.oci.image.layer.v1.tar{compression and '+' + compression}"
        for compression in ("", "gzip", "zstd")
    },
)


def image_manifest(config: Descriptor, layers: Sequence[Descriptor], *, is_oci: bool = False) -> tuple[bytes, str]:
    """Return the manifest of an image and its media type, all media types in it of one family.

    It is Docker's, which every registry takes, unless `is_oci` or a layer is compressed as only OCI's knows (zstd).
    Media types name the same bytes either way, but skopeo, podman and buildah refuse a manifest that mixes the two.
    """
    compressions = [_compression(layer.media_type) for layer in layers]
    family = _DOCKER if not is_oci and set(compressions) <= set(_DOCKER.layers) else _OCI
    document = {
        "schemaVersion": 2,
        "mediaType": family.manifest,
        "config": replace(config, media_type=family.config).document(),
        "layers": [
            replace(layer, media_type=family.layers.get(compression, layer.media_type)).document()
            for layer, compression in zip(layers, compressions, strict=True)
        ],
    }
    return json.dumps(document, indent=3).encode(), family.manifest


def _compression(media_type: str) -> str:
    """Return how a layer of `media_type` is compressed ("", "gzip", "zstd"), or the suffix that says something else."""
    return media_type.rpartition("tar")[2].lstrip("+.")
