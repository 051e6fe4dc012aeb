"""The images of one engine: what is known by which name, and where its layers lie."""

from __future__ import annotations

import builtins
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runtime.errors import BadRequestError, ConflictError, NotFoundError
from runtime.image.content import ContentStore
from runtime.image.pack import pack
from runtime.image.reference import Reference
from runtime.image.unpack import unpack
from runtime.paths import Paths
from runtime.store import Store

ROOTFS_SCHEME = "rootfs:"
SHORTEST_ID = 4


@dataclass(frozen=True)
class Image:
    """An image by its `id` (the digest of its config): `config` is the OCI image configuration document."""

    id: str
    config: dict[str, Any]
    diff_ids: tuple[str, ...]
    references: tuple[str, ...]
    size_bytes: int
    rootfs: Path | None = None

    @property
    def defaults(self) -> dict[str, Any]:
        """What a container of this image runs with (OCI image configuration, "config")."""
        return self.config.get("config") or {}


class Images:
    """Images and their layers over a store; layers lie unpacked in `layers/<diff ID>/diff`."""

    def __init__(self, paths: Paths, store: Store) -> None:
        self._paths = paths
        self.store = store
        self.content = ContentStore(paths)
        self._images = store.collection("image")
        self._tags = store.collection("tag")
        self._layers = store.collection("layer")

    def layer_path(self, diff_id: str) -> Path:
        """Return the directory of the unpacked layer `diff_id`."""
        return self._paths.layers / diff_id.partition(":")[2] / "diff"

    def layer_directories(self, image: Image) -> tuple[Path, ...]:
        """Return the layers of `image` as overlayfs wants them: the topmost first."""
        if image.rootfs is not None:
            return (image.rootfs,)
        return tuple(self.layer_path(diff_id) for diff_id in reversed(image.diff_ids))

    def list(self) -> list[Image]:
        """Return all images, the newest first."""
        names: dict[str, list[str]] = {}
        for reference, tag in self._tags.items():
            names.setdefault(tag["image"], []).append(reference)
        found = [self._image(id, document, names.get(id, [])) for id, document in self._images.items()]
        return sorted(found, key=lambda image: image.config.get("created") or "", reverse=True)

    def _image(self, id: str, document: dict[str, Any], references: Sequence[str]) -> Image:
        config = document["config"]
        return Image(id, config, tuple(config["rootfs"]["diff_ids"]), tuple(references), document["size"])

    def get(self, id: str) -> Image | None:
        """Return the image of the full `id`, or None."""
        document = self._images.get(id)
        if document is None:
            return None
        references = [reference for reference, tag in self._tags.items() if tag["image"] == id]
        return self._image(id, document, references)

    def resolve(self, name: str) -> Image:
        """Return the image that `name` means: a reference, an ID or its beginning, or "rootfs:/directory".

        Raises NotFoundError.
        """
        if name.startswith(ROOTFS_SCHEME):
            return self._plain_directory(Path(name[len(ROOTFS_SCHEME) :]))
        if name.startswith("sha256:") and (image := self.get(name)):
            return image
        try:
            tag = self._tags.get(str(Reference.parse(name)))
        except BadRequestError:
            tag = None
        if tag is not None and (image := self.get(tag["image"])):
            return image
        prefix = name.removeprefix("sha256:")
        if len(prefix) >= SHORTEST_ID and set(prefix) <= set("0123456789abcdef"):
            ids = self._images.with_prefix(f"sha256:{prefix}")
            if len(ids) == 1 and (image := self.get(ids[0])):
                return image
        raise NotFoundError(f"No such image: {name}", "pull it, build it, or `skiff image bootstrap` a Debian base")

    def _plain_directory(self, directory: Path) -> Image:
        if not directory.is_absolute() or not directory.is_dir():
            raise NotFoundError(f"No such image: {ROOTFS_SCHEME}{directory}", "name an absolute path of a directory")
        config = {
            "architecture": os.uname().machine,
            "os": "linux",
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Cmd": ["/bin/sh"],
            },
            "rootfs": {"type": "layers", "diff_ids": []},
        }
        return Image(f"{ROOTFS_SCHEME}{directory}", config, (), (f"{ROOTFS_SCHEME}{directory}",), 0, directory)

    def tag(self, image: Image, reference: Reference) -> None:
        """Make `reference` a name of `image`, no longer of another."""
        self._tags.put(str(reference), {"image": image.id})

    def untag(self, reference: Reference) -> None:
        """Take the name away."""
        self._tags.delete(str(reference))

    def remove(self, name: str, *, force: bool, in_use: Callable[[str], str | None]) -> builtins.list[dict[str, str]]:
        """Remove a name, and with its last one the image; returns Docker's list of Untagged and Deleted.

        `in_use` names the container that uses an image ID, or gives None. Raises ConflictError.
        """
        image = self.resolve(name)
        try:
            reference: Reference | None = Reference.parse(name)
        except BadRequestError:
            reference = None
        is_name = reference is not None and str(reference) in image.references
        holder = in_use(image.id)
        done: builtins.list[dict[str, str]] = []
        with self.store.transaction():
            if is_name and reference is not None and len(image.references) > 1:
                self.untag(reference)
                return [{"Untagged": reference.familiar}]
            if not is_name and len(image.references) > 1 and not force:
                raise ConflictError(
                    f"conflict: unable to delete {name} (must be forced) - image is referenced in multiple repositories"
                )
            if holder is not None and not (force and is_name):
                raise ConflictError(
                    f"conflict: unable to remove repository reference {name!r} (must force) - container {holder} is using its "
                    f"referenced image {image.id[7:19]}",
                    f"remove the container first: `skiff rm` or `docker rm {holder}`",
                )
            for one in image.references:
                self._tags.delete(one)
                done.append({"Untagged": Reference.parse(one).familiar})
            if holder is None:
                self._images.delete(image.id)
                done.append({"Deleted": image.id})
        if holder is None:
            self.collect_garbage()
        return done

    def register(self, config: dict[str, Any]) -> Image:
        """Make an image of `config`, whose layers are here; the same config gives the same image."""
        for diff_id in config["rootfs"]["diff_ids"]:
            if self._layers.get(diff_id) is None:
                raise NotFoundError(f"layer {diff_id} is missing")
        id = self.content.put(json.dumps(config, separators=(",", ":"), sort_keys=True).encode())
        size = sum((self._layers.get(diff_id) or {"size": 0})["size"] for diff_id in config["rootfs"]["diff_ids"])
        self._images.put(id, {"config": config, "size": size})
        image = self.get(id)
        assert image is not None
        return image

    def adopt_config(self, raw: bytes) -> Image:
        """Make an image of the configuration bytes `raw`, kept as they are: their digest is the image's ID."""
        config = json.loads(raw)
        id = self.content.put(raw)
        size = sum((self._layers.get(diff_id) or {"size": 0})["size"] for diff_id in config["rootfs"]["diff_ids"])
        self._images.put(id, {"config": config, "size": size})
        image = self.get(id)
        assert image is not None
        return image

    def has_layer(self, diff_id: str) -> bool:
        """Whether the layer is unpacked here."""
        return self._layers.get(diff_id) is not None and self.layer_path(diff_id).is_dir()

    def unpack_layer(self, blob: Path, expected: str | None = None) -> str:
        """Unpack the layer archive at `blob`; return its diff ID. Blocking. Raises BadRequestError."""
        self._paths.tmp.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._paths.tmp, prefix="layer-") as scratch:
            target = Path(scratch) / "layer"
            diff_id = unpack(blob, target / "diff")
            if expected is not None and diff_id != expected:
                raise BadRequestError(
                    f"the layer's content is {diff_id}, its image says {expected}", "load or pull it again"
                )
            self._install(target, diff_id)
        return diff_id

    def _install(self, directory: Path, diff_id: str) -> None:
        final = self._paths.layers / diff_id.partition(":")[2]
        final.parent.mkdir(parents=True, exist_ok=True)
        if not final.exists():
            os.rename(directory, final)
        size = sum(entry.stat(follow_symlinks=False).st_size for entry in _files(final / "diff"))
        self._layers.put(diff_id, {"size": size})

    def commit_layer(self, upper: Path) -> str:
        """Make the overlay upper directory `upper` a layer: it is moved, not copied; return its diff ID. Blocking."""
        with self.content.write() as writer:
            pack(upper, writer)  # type: ignore[arg-type]
        # the digest is what was wanted; the archive is written again, from the layer, when an image is saved or pushed
        self.content.delete(writer.digest)
        holder = upper.parent / f"{upper.name}.layer"
        holder.mkdir()
        os.rename(upper, holder / "diff")
        self._install(holder, writer.digest)
        if holder.exists():
            shutil.rmtree(holder)
        return writer.digest

    def collect_garbage(self) -> int:
        """Remove layers and blobs that no image needs; return the bytes that frees."""
        needed = {id for id, _ in self._images.items()}
        layers = {
            diff_id for _, document in self._images.items() for diff_id in document["config"]["rootfs"]["diff_ids"]
        }
        cached = {document.get("layer") for _, document in self.store.collection("build_cache").items()}
        freed = 0
        for diff_id, document in self._layers.items():
            if diff_id not in layers and diff_id not in cached:
                self._layers.delete(diff_id)
                shutil.rmtree(self._paths.layers / diff_id.partition(":")[2], ignore_errors=True)
                freed += document["size"]
        folder = self._paths.blobs / "sha256"
        if folder.is_dir():
            for blob in folder.iterdir():
                if f"sha256:{blob.name}" not in needed:
                    freed += self.content.delete(f"sha256:{blob.name}")
        return freed


def now() -> str:
    """Return this moment as image configurations write it (RFC 3339)."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _files(directory: Path) -> list[os.DirEntry[str]]:
    found: list[os.DirEntry[str]] = []
    waiting = [str(directory)]
    while waiting:
        for entry in os.scandir(waiting.pop()):
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif entry.is_file(follow_symlinks=False):
                found.append(entry)
    return found
