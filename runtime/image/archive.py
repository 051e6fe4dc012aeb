"""Images in files: `docker save` archives and OCI image layouts, in and out."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import anyio.to_thread

from runtime.errors import BadRequestError, NotFoundError
from runtime.image.compression import CompressionError, decoded, is_compressed
from runtime.image.content import ContentStore
from runtime.image.images import Image, Images
from runtime.image.index import Attest, attestation, image_index, platform_document
from runtime.image.layers import LayerSource
from runtime.image.machine import best
from runtime.image.manifest import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Index,
    Manifest,
    Platform,
    diff_ids,
    parse,
)
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
                # two loads of the same layer take turns: the second finds it there
                async with images.transfers.alone(diff_id):
                    if not images.layers.is_whole(diff_id):
                        descriptor = found.descriptors[position] if found.descriptors else None
                        await _load_layer(images, archive, member, diff_id, descriptor)
            loaded.append(await _adopt(images, found, progress))
    return loaded


@asynccontextmanager
async def _opened(path: Path) -> AsyncIterator[_Archive]:
    archive = await anyio.to_thread.run_sync(_open, path)
    try:
        yield archive
    finally:
        archive.close()


def _open(path: Path) -> _Archive:
    """Open an archive; a compressed one is decompressed once into a file next to it, since its members are read in any order."""
    file: IO[bytes] = open(path, "rb")  # noqa: SIM115 - closed by the archive
    try:
        if is_compressed(file):
            with file as compressed:
                file = tempfile.TemporaryFile(dir=path.parent, prefix="load-")  # noqa: SIM115 - closed by the archive
                for piece in decoded(cast(BinaryIO, compressed)):
                    file.write(piece)
            file.seek(0)
        return _Archive(file, tarfile.open(fileobj=file, mode="r:"))
    except (tarfile.TarError, CompressionError, EOFError, ValueError) as error:
        file.close()
        raise BadRequestError(
            f"the archive can't be read: {error}", "give what `docker save` or an OCI tool wrote"
        ) from error
    except BaseException:
        file.close()
        raise


async def _load_layer(
    images: Images, archive: _Archive, member: tarfile.TarInfo, diff_id: str, descriptor: Descriptor | None
) -> None:
    """Add one layer; its blob stays when it is a compressed one that a registry would know by its digest."""
    if descriptor is not None and descriptor.digest != diff_id:
        if not images.content.has(descriptor.digest):
            await anyio.to_thread.run_sync(archive.copy_blob, member, images.content, descriptor.digest)
        try:
            await images.layers.add(images.content.path(descriptor.digest), diff_id)
        except BaseException:
            images.content.delete(descriptor.digest)
            raise
        images.layers.know(diff_id, descriptor)
        return
    await images.layers.add(lambda: archive.open(member), diff_id)


async def _adopt(images: Images, found: ArchivedImage, progress: Tell) -> Image:
    manifest = None
    layers = zip(found.descriptors, diff_ids(found.raw_config), strict=False)
    if found.manifest is not None and all(
        one.digest == diff_id or images.content.has(one.digest) for one, diff_id in layers
    ):
        manifest = await anyio.to_thread.run_sync(images.content.put, found.manifest)
    image = await images.adopt_config(found.raw_config, manifest)
    references = [Reference.parse(name) for name in found.names]
    for reference in references:
        images.tag(image, reference)
    await images.store.flush()
    for reference in references:
        progress({"stream": f"Loaded image: {reference.familiar}\n"})
    if not found.names:
        progress({"stream": f"Loaded image ID: {image.id}\n"})
    return image


class _Archive:
    """An open archive. All of it blocks."""

    def __init__(self, file: IO[bytes], tar: tarfile.TarFile) -> None:
        self._file = file
        self.tar = tar
        self._members: dict[str, tarfile.TarInfo] = {}

    def close(self) -> None:
        """Close it."""
        self.tar.close()
        self._file.close()

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
        return self.open(member).read()

    def open(self, member: tarfile.TarInfo) -> BinaryIO:
        """Return a member's content as a file: one at a time can be read. Raises BadRequestError."""
        content = self.tar.extractfile(member)
        if content is None:
            raise BadRequestError(f"the archive's {member.name} is not a file")
        return cast(BinaryIO, content)

    def _docker_image(self, entry: dict[str, Any]) -> ArchivedImage:
        layers = tuple(self._member(name) for name in entry["Layers"])
        config = self._read(entry["Config"])
        return ArchivedImage(config, layers, tuple(entry.get("RepoTags") or ()), *self._manifest_of(config))

    def _manifest_of(self, config: bytes) -> tuple[bytes | None, tuple[Descriptor, ...]]:
        """Return the manifest of the image with that configuration, where the docker archive is an OCI layout too."""
        digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
        if "index.json" in self._members:
            for _, descriptor in self._entries():
                if _blob_name(descriptor.digest) in self._members:
                    raw, manifest = self._image_of(descriptor)
                    if manifest.config.digest == digest:
                        return raw, manifest.layers
        return None, ()

    def _blob(self, descriptor: Descriptor) -> bytes:
        raw = self._read(_blob_name(descriptor.digest))
        if f"sha256:{hashlib.sha256(raw).hexdigest()}" != descriptor.digest:
            raise BadRequestError(f"the archive's blob {descriptor.digest} has other content", "it is damaged")
        return raw

    def _layout(self) -> list[ArchivedImage]:
        """Read an OCI image layout (OCI image specification, "Image Layout")."""
        found = []
        for names, raw, manifest in self._manifests():
            layers = tuple(self._member(_blob_name(layer.digest)) for layer in manifest.layers)
            found.append(ArchivedImage(self._blob(manifest.config), layers, names, raw, manifest.layers))
        if not found:
            raise BadRequestError("the archive has no image", "it is an empty OCI layout")
        return found

    def _manifests(self) -> Iterator[tuple[tuple[str, ...], bytes, Manifest]]:
        """Yield the images that index.json lists: names, manifest as it is, and what that says.

        Of one name's manifests for several platforms, one is chosen; attestations are no images.
        """
        entries: dict[tuple[str, ...] | int, list[Descriptor]] = {}
        for number, (names, descriptor) in enumerate(self._entries()):
            # without a name, manifests for several platforms are those of one image, others are images of their own
            key = names or (() if descriptor.platform is not None else number)
            entries.setdefault(key, []).append(descriptor)
        for key, descriptors in entries.items():
            raw, manifest = self._image_of(self._of_this_machine(Index(tuple(descriptors))))
            yield key if isinstance(key, tuple) else (), raw, manifest

    def _entries(self) -> Iterator[tuple[tuple[str, ...], Descriptor]]:
        """Yield what index.json lists, with its names, but for attestations."""
        for document in json.loads(self._read("index.json"))["manifests"]:
            notes = document.get("annotations") or {}
            if notes.get("vnd.docker.reference.type") != "attestation-manifest":
                yield _names(notes), Descriptor.of(document)

    def _image_of(self, descriptor: Descriptor) -> tuple[bytes, Manifest]:
        """Return the image that a descriptor, of an index maybe, leads to: its manifest as it is, and what that says."""
        raw = self._blob(descriptor)
        manifest = parse(raw, descriptor.media_type)
        while isinstance(manifest, Index):
            raw = self._blob(self._of_this_machine(manifest))
            manifest = parse(raw, "")
        return raw, manifest

    def _of_this_machine(self, index: Index) -> Descriptor:
        """Return the manifest for this machine; from an archive with only one, that one."""
        here = [one for one in index.manifests if _blob_name(one.digest) in self._members]
        if not here:
            raise BadRequestError(
                "the archive has no blob of the manifests that it lists", "it is damaged: save it again"
            )
        images = [one for one in here if one.platform is None or one.platform.os != "unknown"]
        if len(images) == 1:
            return images[0]
        try:
            return Index(tuple(images)).select(best(), "the archive")
        except NotFoundError as error:
            raise BadRequestError(error.message, error.hint) from error

    def copy(self, member: tarfile.TarInfo, out: Any) -> None:
        """Copy a member to `out`. Raises BadRequestError when it is not whole."""
        try:
            source = self.open(member)
            while data := source.read(COPY_BYTES):
                out.write(data)
        except (tarfile.TarError, EOFError) as error:
            raise BadRequestError(f"the archive can't be read: {error}", "it is damaged: save it again") from error

    def copy_blob(self, member: tarfile.TarInfo, content: ContentStore, expected: str) -> None:
        """Copy a member into the content store. Raises BadRequestError when its digest is not `expected`."""
        with content.write(expected) as writer:
            self.copy(member, writer)


def _names(notes: Mapping[str, str]) -> tuple[str, ...]:
    """Return what an entry of index.json is called; a tag alone names no image."""
    for name in (notes.get("io.containerd.image.name"), notes.get("org.opencontainers.image.ref.name")):
        if isinstance(name, str) and set(name) & set(":/@"):
            try:
                return (str(Reference.parse(name)),)
            except BadRequestError:
                continue
    return ()


@dataclass(frozen=True)
class Export:
    """What `save` writes of one image; its `manifest` as it came, where all that it names is here as it came."""

    raw_config: bytes
    layers: tuple[LayerSource, ...]
    tags: tuple[str, ...]
    manifest: bytes | None = None


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
        if str(reference) in image.references and reference.familiar not in tags:
            tags.append(reference.familiar)
    return [
        Export(
            images.content.read(image.id),
            tuple(map(images.layers.source, image.diff_ids)),
            tuple(tags),
            _kept_manifest(images, image),
        )
        for image, tags in found.values()
    ]


def _kept_manifest(images: Images, image: Image) -> bytes | None:
    if image.manifest is None or not images.content.has(image.manifest):
        return None
    raw = images.content.read(image.manifest)
    manifest = parse(raw, "")
    if isinstance(manifest, Index) or len(manifest.layers) != len(image.diff_ids):
        return None
    for layer, diff_id in zip(manifest.layers, image.diff_ids, strict=True):
        if layer.digest != diff_id and not images.content.has(layer.digest):
            return None
    return raw


def save(wanted: Sequence[Export], out: IO[bytes], scratch: Path) -> None:
    """Write images to `out` as a docker archive that is an OCI layout too. Blocking."""
    manifests, index = [], []
    with tarfile.open(fileobj=out, mode="w|") as tar:
        writer = _LayoutWriter(tar, scratch)
        for image in wanted:
            config, layers, raw = writer.image(image)
            media_type = json.loads(raw).get("mediaType") or OCI_MANIFEST
            entry = {**writer.blob(raw, media_type).document(), "platform": _platform(image.raw_config)}
            index += [{**entry, "annotations": _annotations(tag)} for tag in image.tags] or [entry]
            manifests.append(
                {
                    "Config": _blob_name(config.digest),
                    "RepoTags": list(image.tags) or None,
                    "Layers": [_blob_name(layer.digest) for layer in layers],
                }
            )
        writer.file("manifest.json", json.dumps(manifests).encode())
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": index}
        writer.file("index.json", json.dumps(document).encode())
        writer.file("oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())


def save_index(wanted: Sequence[Export], tags: Sequence[str], attest: Attest, out: IO[bytes], scratch: Path) -> str:
    """Write images of several platforms to `out` as an OCI layout whose one image is their index. Blocking.

    `tags` are the index's names, `attest` returns the statements about each image. Returns the digest of the index.
    """
    with tarfile.open(fileobj=out, mode="w|") as tar:
        writer = _LayoutWriter(tar, scratch)
        images, attestations = [], []
        for image in wanted:
            _, _, raw = writer.image(replace(image, manifest=None))
            described = writer.blob(raw, OCI_MANIFEST)
            platform = Platform.of(json.loads(image.raw_config))
            images.append((described, platform))
            if statements := attest(platform, described.digest):
                manifest, blobs = attestation(statements)
                for blob in (*blobs, manifest):
                    writer.blob(blob.raw, blob.descriptor.media_type)
                attestations.append((manifest.descriptor, described.digest))
        index = image_index(images, attestations)
        entry = writer.blob(index.raw, OCI_INDEX).document()
        entries = [{**entry, "annotations": _annotations(tag)} for tag in tags] or [entry]
        layout = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        writer.file("index.json", json.dumps(layout).encode())
        writer.file("oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
    return index.descriptor.digest


def _annotations(tag: str) -> dict[str, str]:
    reference = Reference.parse(tag)
    return {"io.containerd.image.name": str(reference), "org.opencontainers.image.ref.name": reference.tag or ""}


def _platform(raw_config: bytes) -> dict[str, str]:
    return platform_document(Platform.of(json.loads(raw_config)))


def _blob_name(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


class _LayoutWriter:
    """Writes blobs and documents into an archive, each blob once."""

    def __init__(self, tar: tarfile.TarFile, scratch: Path) -> None:
        self._tar = tar
        self._scratch = scratch
        self._written: dict[str, Descriptor] = {}

    def image(self, image: Export) -> tuple[Descriptor, list[Descriptor], bytes]:
        """Write an image's layers and configuration; return what they are, and the manifest that says so."""
        if image.manifest is not None:
            manifest = parse(image.manifest, "")
            assert isinstance(manifest, Manifest), "only an image's own manifest is kept"
            if all(self._kept(source, layer) for source, layer in zip(image.layers, manifest.layers, strict=True)):
                self.blob(image.raw_config, manifest.config.media_type)
                return manifest.config, list(manifest.layers), image.manifest
        layers = [self.layer(source) for source in image.layers]
        raw = image.raw_config
        config = json.loads(raw)
        written = [layer.digest for layer in layers]
        if written != config["rootfs"]["diff_ids"]:
            # a layer that had to be packed again may differ in its bytes: then the configuration follows it
            raw = json.dumps({**config, "rootfs": {"type": "layers", "diff_ids": written}}).encode()
        described = self.blob(raw, OCI_CONFIG)
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": described.document(),
            "layers": [layer.document() for layer in layers],
        }
        return described, layers, json.dumps(document).encode()

    def _kept(self, source: LayerSource, layer: Descriptor) -> bool:
        """Write a layer as its manifest has it; return whether that is so."""
        if layer.digest == source.diff_id:
            return self.layer(source).digest == layer.digest
        if layer.digest not in self._written:
            assert source.blob is not None, "a kept manifest's compressed layers are here"
            with open(source.blob, "rb") as blob:
                self._add(_blob_name(layer.digest), layer.size, blob)
            self._written[layer.digest] = layer
        return True

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
        self._add(name, len(data), io.BytesIO(data))

    def _add(self, name: str, size: int, content: IO[bytes]) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode = size, 0o644
        self._tar.addfile(member, content)
