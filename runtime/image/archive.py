"""Images in files: `docker save` archives and OCI image layouts, in and out."""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import anyio.to_thread

from runtime.errors import BadRequestError, NotFoundError
from runtime.image.content import ContentStore
from runtime.image.images import Image, Images
from runtime.image.layers import LayerSource
from runtime.image.manifest import Descriptor, Index, Platform, diff_ids, parse
from runtime.image.reference import Reference

COPY_BYTES = 1 << 20
LARGEST_DOCUMENT_BYTES = 16 << 20
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class ArchivedImage:
    """An image of an archive: its configuration's bytes, the members with its layers, and what it is called.

    `manifest` is the manifest's bytes and `descriptors` what it says of the layers, where the archive is an OCI layout.
    """

    raw_config: bytes
    layers: tuple[tarfile.TarInfo, ...]
    names: tuple[str, ...]
    manifest: bytes | None = None
    descriptors: tuple[Descriptor, ...] = ()


async def load(images: Images, path: Path, progress: Tell) -> list[Image]:
    """Load every image of the archive at `path`. Raises BadRequestError when it is none that we know."""
    loaded = []
    async with images.garbage.held_off(), _opened(path) as archive:
        for found in await anyio.to_thread.run_sync(archive.images):
            layers = diff_ids(found.raw_config)
            if len(layers) != len(found.layers):
                raise BadRequestError(
                    f"the archive has {len(found.layers)} layers for an image of {len(layers)}", "it is damaged"
                )
            for position, (member, diff_id) in enumerate(zip(found.layers, layers, strict=True)):
                if not images.layers.has(diff_id):
                    descriptor = found.descriptors[position] if found.descriptors else None
                    await _load_layer(images, archive, member, diff_id, descriptor)
            loaded.append(_adopt(images, found, progress))
    return loaded


@asynccontextmanager
async def _opened(path: Path) -> AsyncIterator[_Archive]:
    def begin() -> _Archive:
        try:
            return _Archive(tarfile.open(path, "r:*"))
        except (tarfile.TarError, EOFError, OSError) as error:
            raise BadRequestError(
                f"the archive can't be read: {error}", "give what `docker save` or an OCI tool wrote"
            ) from error

    archive = await anyio.to_thread.run_sync(begin)
    try:
        yield archive
    finally:
        archive.tar.close()


async def _load_layer(
    images: Images, archive: _Archive, member: tarfile.TarInfo, diff_id: str, descriptor: Descriptor | None
) -> None:
    """Unpack one layer; its blob stays when it is a compressed one that a registry would know by its digest."""
    expected = None if descriptor is None else descriptor.digest
    digest = await anyio.to_thread.run_sync(archive.copy, member, images.content, expected)
    is_plain = digest == diff_id
    try:
        await images.layers.add(images.content.path(digest), diff_id)
    except BaseException:
        images.content.delete(digest)
        raise
    if descriptor is not None and not is_plain:
        images.layers.know(diff_id, descriptor)
    else:
        images.content.delete(digest)


def _adopt(images: Images, found: ArchivedImage, progress: Tell) -> Image:
    manifest = None
    if found.manifest is not None and all(images.content.has(layer.digest) for layer in found.descriptors):
        manifest = images.content.put(found.manifest)
    image = images.adopt_config(found.raw_config, manifest)
    for name in found.names:
        reference = Reference.parse(name)
        images.tag(image, reference)
        progress({"stream": f"Loaded image: {reference.familiar}\n"})
    if not found.names:
        progress({"stream": f"Loaded image ID: {image.id}\n"})
    return image


class _Archive:
    """An open archive. All of it blocks."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self.tar = tar
        self._members: dict[str, tarfile.TarInfo] = {}

    def images(self) -> list[ArchivedImage]:
        """Return what the archive holds. Raises BadRequestError."""
        try:
            self._members = {member.name.removeprefix("./"): member for member in self.tar.getmembers()}
            if "manifest.json" in self._members:
                return [self._docker_image(entry) for entry in json.loads(self._read("manifest.json"))]
            if "index.json" in self._members:
                return self._layout()
        except (tarfile.TarError, EOFError, ValueError, KeyError, TypeError) as error:
            raise BadRequestError(
                f"the archive can't be read: {error}", "give what `docker save` or an OCI tool wrote"
            ) from error
        raise BadRequestError(
            "the archive has neither manifest.json nor index.json", "give what `docker save` or an OCI tool wrote"
        )

    def _member(self, name: str) -> tarfile.TarInfo:
        try:
            return self._members[name]
        except KeyError:
            raise BadRequestError(f"the archive has no {name}", "it is damaged: save it again") from None

    def _read(self, name: str) -> bytes:
        member = self._member(name)
        if member.size > LARGEST_DOCUMENT_BYTES:
            raise BadRequestError(f"the archive's {name} is larger than any such document")
        return self._open(member).read()

    def _open(self, member: tarfile.TarInfo) -> IO[bytes]:
        content = self.tar.extractfile(member)
        if content is None:
            raise BadRequestError(f"the archive's {member.name} is not a file")
        return content

    def _docker_image(self, entry: dict[str, Any]) -> ArchivedImage:
        layers = tuple(self._member(name) for name in entry["Layers"])
        return ArchivedImage(self._read(entry["Config"]), layers, tuple(entry.get("RepoTags") or ()))

    def _blob(self, descriptor: Descriptor) -> bytes:
        raw = self._read("blobs/" + descriptor.digest.replace(":", "/"))
        if f"sha256:{hashlib.sha256(raw).hexdigest()}" != descriptor.digest:
            raise BadRequestError(f"the archive's blob {descriptor.digest} has other content", "it is damaged")
        return raw

    def _layout(self) -> list[ArchivedImage]:
        """Read an OCI image layout (OCI image specification, "Image Layout")."""
        found = []
        for document in json.loads(self._read("index.json"))["manifests"]:
            descriptor = Descriptor.of(document)
            raw = self._blob(descriptor)
            manifest = parse(raw, descriptor.media_type)
            while isinstance(manifest, Index):
                raw = self._blob(self._of_this_machine(manifest))
                manifest = parse(raw, "")
            notes = document.get("annotations") or {}
            name = notes.get("io.containerd.image.name") or notes.get("org.opencontainers.image.ref.name")
            layers = tuple(self._member("blobs/" + layer.digest.replace(":", "/")) for layer in manifest.layers)
            config = self._blob(manifest.config)
            found.append(ArchivedImage(config, layers, (name,) if name else (), raw, manifest.layers))
        return found

    def _of_this_machine(self, index: Index) -> Descriptor:
        """Return the manifest for this machine; from an archive with only one, that one."""
        here = [one for one in index.manifests if "blobs/" + one.digest.replace(":", "/") in self._members]
        if len(here) == 1:
            return here[0]
        try:
            return Index(tuple(here)).select(Platform.host(), "the archive")
        except NotFoundError as error:
            raise BadRequestError(error.message, error.hint) from error

    def copy(self, member: tarfile.TarInfo, content: ContentStore, expected: str | None) -> str:
        """Copy a member into the content store; return its digest. Raises BadRequestError when it is not `expected`."""
        try:
            source = self._open(member)
            with content.write(expected) as writer:
                while data := source.read(COPY_BYTES):
                    writer.write(data)
        except (tarfile.TarError, EOFError) as error:
            raise BadRequestError(f"the archive can't be read: {error}", "it is damaged: save it again") from error
        return writer.digest


@dataclass(frozen=True)
class Export:
    """What `save` writes of one image."""

    raw_config: bytes
    layers: tuple[LayerSource, ...]
    tags: tuple[str, ...]


def exports(images: Images, names: Sequence[str]) -> list[Export]:
    """Return the images `names`, each once, with those of their tags that were named; an ID names none."""
    found: dict[str, tuple[Image, list[str]]] = {}
    for name in names:
        image = images.resolve(name)
        if image.rootfs is not None:
            raise BadRequestError(f"{name} is a plain directory, not an image", "tar the directory instead")
        _, tags = found.setdefault(image.id, (image, []))
        try:
            reference = Reference.parse(name)
        except BadRequestError:
            continue
        if str(reference) in image.references:
            tags.append(reference.familiar)
    return [
        Export(images.content.read(image.id), tuple(map(images.layers.source, image.diff_ids)), tuple(tags))
        for image, tags in found.values()
    ]


def save(wanted: Sequence[Export], out: IO[bytes], scratch: Path) -> None:
    """Write images to `out` as a docker archive that is an OCI layout too. Blocking."""
    manifests, index = [], []
    with tarfile.open(fileobj=out, mode="w|") as tar:
        writer = _LayoutWriter(tar, scratch)
        for image in wanted:
            layers = [writer.layer(source) for source in image.layers]
            raw = image.raw_config
            config = json.loads(raw)
            written = [layer.digest for layer in layers]
            if written != config["rootfs"]["diff_ids"]:
                # a layer that had to be packed anew may differ in its bytes: then the configuration follows it
                raw = json.dumps({**config, "rootfs": {"type": "layers", "diff_ids": written}}).encode()
            described = writer.blob(raw, "application/vnd.oci.image.config.v1+json")
            manifest = {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": described.document(),
                "layers": [layer.document() for layer in layers],
            }
            entry = writer.blob(json.dumps(manifest).encode(), str(manifest["mediaType"])).document()
            index += [
                {**entry, "annotations": {"io.containerd.image.name": str(Reference.parse(tag))}} for tag in image.tags
            ] or [entry]
            manifests.append(
                {
                    "Config": _blob_name(described.digest),
                    "RepoTags": list(image.tags) or None,
                    "Layers": [_blob_name(layer.digest) for layer in layers],
                }
            )
        writer.file("manifest.json", json.dumps(manifests).encode())
        writer.file("index.json", json.dumps({"schemaVersion": 2, "manifests": index}).encode())
        writer.file("oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())


def _blob_name(digest: str) -> str:
    return f"blobs/sha256/{digest.partition(':')[2]}"


class _LayoutWriter:
    """Writes blobs and documents into an archive, each blob once."""

    def __init__(self, tar: tarfile.TarFile, scratch: Path) -> None:
        self._tar = tar
        self._scratch = scratch
        self._written: dict[str, Descriptor] = {}

    def layer(self, source: LayerSource) -> Descriptor:
        """Write a layer's uncompressed archive."""
        if source.diff_id in self._written:
            return self._written[source.diff_id]
        with tempfile.NamedTemporaryFile(dir=self._scratch) as file:
            source.write(cast(IO[bytes], file))
            size = file.tell()
            file.seek(0)
            digest = f"sha256:{hashlib.file_digest(cast(Any, file), 'sha256').hexdigest()}"
            descriptor = Descriptor(OCI_LAYER, digest, size)
            if digest not in self._written:
                file.seek(0)
                self._add(_blob_name(digest), size, cast(IO[bytes], file))
        self._written[source.diff_id] = self._written[digest] = descriptor
        return descriptor

    def blob(self, data: bytes, media_type: str) -> Descriptor:
        """Write a document as a blob."""
        descriptor = Descriptor(media_type, f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))
        if descriptor.digest not in self._written:
            self._written[descriptor.digest] = descriptor
            self.file(_blob_name(descriptor.digest), data)
        return descriptor

    def file(self, name: str, data: bytes) -> None:
        """Write a file."""
        import io

        self._add(name, len(data), io.BytesIO(data))

    def _add(self, name: str, size: int, content: IO[bytes]) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode = size, 0o644
        self._tar.addfile(member, content)
