"""The images of one engine: what is known by which name, and where its layers lie."""

from __future__ import annotations

import builtins
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio.to_thread

from runtime.bodies import ContainerConfig
from runtime.errors import BadRequestError, ConflictError, InternalError, KernelError, NotFoundError
from runtime.image.content import ContentStore
from runtime.image.garbage import Garbage
from runtime.image.layers import Layers
from runtime.image.manifest import diff_ids
from runtime.image.reference import Reference
from runtime.image.transfers import KeyedLocks
from runtime.paths import Paths
from runtime.store import Store
from runtime.trash import Trash

ROOTFS_SCHEME = "rootfs:"
SHORTEST_ID = 2


@dataclass(frozen=True)
class Image:
    """An image by its `id` (the digest of its config): `config` is the OCI image configuration document."""

    id: str
    config: dict[str, Any]
    diff_ids: tuple[str, ...]
    references: tuple[str, ...]
    size_bytes: int
    rootfs: Path | None = None
    digests: tuple[str, ...] = ()
    """References by digest under which registries have it."""
    manifest: str | None = None
    """The digest of the manifest it was pulled with, kept among the blobs."""
    parent: str = ""
    """The ID of the image that it was made of here, by a commit."""

    @property
    def defaults(self) -> ContainerConfig:
        """What a container of this image runs with (OCI image configuration, "config")."""
        return cast(ContainerConfig, self.config.get("config") or {})


class Images:
    """Images and their layers over a store; the files of a layer are in `layers/<diff ID>/diff`."""

    def __init__(self, paths: Paths, store: Store, trash: Trash | None = None, *, mounts_layers: bool = False) -> None:
        """`mounts_layers`: see `Layers`."""
        self.store = store
        self.trash = trash or Trash(paths)
        self.content = ContentStore(paths)
        self.layers = Layers(paths, store, self.content, self.trash, mounts=mounts_layers)
        self.garbage = Garbage(paths, store, self.layers, self.trash)
        self.transfers = KeyedLocks()
        self._paths = paths
        self._images = store.collection("image")
        self._names: dict[str, str] = {}
        self._load()

    def _load(self) -> None:
        """Read which image has which name; where two records claim one, the later claim counts.

        So moving a name from one image to another is two independent writes: the new claim, then the old one's end.
        """
        claimed_s: dict[str, float] = {}
        self._images.parsed(partial(self._image, ""))  # omits those that lack something
        for id, document in self._images.items():
            for name, tagged_s in (document.get("references") or {}).items():
                if name not in claimed_s or tagged_s > claimed_s[name]:
                    self._names[name], claimed_s[name] = id, tagged_s

    def layer_path(self, diff_id: str) -> Path:
        """Return the directory of the unpacked layer `diff_id`."""
        return self.layers.directory(diff_id)

    def layer_directories(self, image: Image) -> tuple[Path, ...]:
        """Return the layers of `image` as overlayfs wants them: the topmost first."""
        if image.rootfs is not None:
            return (image.rootfs,)
        return self.stacked(image.diff_ids)

    def layer_places(self, image: Image) -> tuple[Path, ...]:
        """Return what `layer_directories` does, to be shown: a damaged layer is named like any other."""
        with suppress(InternalError, KernelError, OSError):
            return self.layer_directories(image)
        return tuple(map(self.layers.place, dict.fromkeys(reversed(image.diff_ids))))

    def stacked(self, diff_ids: Sequence[str]) -> tuple[Path, ...]:
        """Return the directories of layers, given the lowest first, as overlayfs wants them: the topmost first, each once.

        Of equal layers the topmost counts: it hides all that a lower one has, and overlayfs refuses a repeated lower
        directory (ELOOP). Two steps that change the same make such images, as two that change nothing.
        """
        return tuple(self.layer_path(diff_id) for diff_id in dict.fromkeys(reversed(diff_ids)))

    def list(self) -> list[Image]:
        """Return all images, the newest first."""
        found = [self._image(id, document) for id, document in self._images.items()]
        return sorted(found, key=lambda image: image.config.get("created") or "", reverse=True)

    def _image(self, id: str, document: dict[str, Any]) -> Image:
        config = document["config"]
        names = sorted(name for name in document.get("references") or () if self._names.get(name) == id)
        return Image(
            id,
            config,
            tuple(config["rootfs"]["diff_ids"]),
            tuple(name for name in names if "@" not in name),
            document["size"],
            digests=tuple(name for name in names if "@" in name),
            manifest=document.get("manifest"),
            parent=document.get("parent") or "",
        )

    def get(self, id: str) -> Image | None:
        """Return the image of the full `id`, or None."""
        document = self._images.get(id)
        if document is None:
            return None
        return self._image(id, document)

    def resolve(self, name: str) -> Image:
        """Return the image that `name` means: a reference, an ID or its beginning, or "rootfs:/directory".

        Raises NotFoundError.
        """
        if name.startswith(ROOTFS_SCHEME):
            return self._plain_directory(Path(name[len(ROOTFS_SCHEME) :]))
        if name.startswith("sha256:") and (image := self.get(name)):
            return image
        reference = named = None
        with suppress(BadRequestError):
            reference = Reference.parse(name)
            named = self._names.get(_key(reference))
        if named is not None and (image := self.get(named)):
            return image
        prefix = name.removeprefix("sha256:")
        if len(prefix) >= SHORTEST_ID and set(prefix) <= set("0123456789abcdef"):
            ids = self._images.with_prefix(f"sha256:{prefix}")
            if len(ids) == 1 and (image := self.get(ids[0])):
                return image
        shown = name if reference is None else reference.familiar
        raise NotFoundError(f"No such image: {shown}", "pull it, build it, or `skiff image bootstrap` a Debian base")

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
        """Make `reference` a name of `image`, no longer of another; one by digest is where a registry has it."""
        name = _key(reference)
        before = self._names.get(name)
        self._claim(image.id, name, time.time())
        self._names[name] = image.id
        if before not in (None, image.id):
            self._claim(str(before), name, None)

    def _claim(self, id: str, name: str, tagged_s: float | None) -> None:
        """Write the name, or with None that it has none, into the image's record."""
        document = self._images.get(id)
        if document is None:
            return
        references = {key: value for key, value in (document.get("references") or {}).items() if key != name}
        if tagged_s is not None:
            references[name] = tagged_s
        self._images.put(id, {**document, "references": references})

    def tagged_s(self, image: Image) -> float:
        """Return when `image` got a name last (Unix time), 0 where that is not known."""
        references = (self._images.get(image.id) or {}).get("references") or {}
        return max((float(references.get(name) or 0) for name in image.references), default=0.0)

    def untag(self, reference: Reference) -> None:
        """Take the name away."""
        name = _key(reference)
        if (id := self._names.pop(name, None)) is not None:
            self._claim(id, name, None)

    def remove(self, name: str, *, force: bool, in_use: Callable[[str], str | None]) -> builtins.list[dict[str, str]]:
        """Remove a name, and with its last one the image; returns Docker's list of Untagged and Deleted.

        `in_use` names the container that uses an image ID, or gives None. Raises ConflictError.
        """
        image = self.resolve(name)
        try:
            reference: Reference | None = Reference.parse(name)
        except BadRequestError:
            reference = None
        is_name = reference is not None and _key(reference) in (*image.references, *image.digests)
        holder = in_use(image.id)
        done: builtins.list[dict[str, str]] = []
        others = [one for one in image.references if reference is None or one != _key(reference)]
        if is_name and reference is not None and others:
            gone = [reference]
            repository = (reference.domain, reference.path)
            if not any((each.domain, each.path) == repository for each in map(Reference.parse, others)):
                # Docker: a digest stands for no repository of its own
                parsed = map(Reference.parse, image.digests)
                gone += [each for each in parsed if (each.domain, each.path) == repository and each != reference]
            for each in gone:
                self.untag(each)
            return [{"Untagged": each.familiar} for each in gone]
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
        for one in (*image.references, *image.digests):
            done.append({"Untagged": Reference.parse(one).familiar})
            self._names.pop(one, None)
        if holder is None:
            self._images.delete(image.id)
            done.append({"Deleted": image.id})
            self.collect_garbage()
        else:
            document = self._images.get(image.id) or {}
            self._images.put(image.id, {**document, "references": {}})
        return done

    async def register(self, config: dict[str, Any], parent: str = "") -> Image:
        """Make an image of `config`, whose layers are here; the same config gives the same image."""
        raw = json.dumps(config, separators=(",", ":"), sort_keys=True).encode()
        return await self.adopt_config(raw, parent=parent)

    async def adopt_config(self, raw: bytes, manifest: str | None = None, parent: str = "") -> Image:
        """Make an image of the configuration bytes `raw`, kept as they are: their digest is the image's ID.

        `manifest` is the digest of the manifest it came with, where that is kept; `parent` the ID of the image that it
        was made of. Raises NotFoundError when a layer is
        missing, BadRequestError when `raw` is no image configuration.
        """
        layers = diff_ids(raw)
        for diff_id in layers:
            if not self.layers.has(diff_id):
                raise NotFoundError(f"layer {diff_id} is missing", "pull, load or build the image again")
        id = await anyio.to_thread.run_sync(self.content.put, raw)
        known = self._images.get(id) or {}
        size = sum(self.layers.size(diff_id) for diff_id in layers)
        document = {
            "config": json.loads(raw),
            "size": size,
            "manifest": manifest or known.get("manifest"),
            "references": known.get("references") or {},
            "parent": parent or known.get("parent") or "",
        }
        self._images.put(id, document)
        image = self.get(id)
        assert image is not None
        return image

    def scratch(self) -> Path:
        """Return the directory for temporary files: on the filesystem of the layers, emptied when an engine starts."""
        self._paths.tmp.mkdir(parents=True, exist_ok=True)
        return self._paths.tmp

    def has_layer(self, diff_id: str) -> bool:
        """Whether the layer is here, not known to be damaged, and with the owners of its files."""
        return self.layers.is_whole(diff_id) and not self.layers.lacks_owners(diff_id)

    async def whole(self, image: Image) -> Image:
        """Return `image` once its layers can be used: mounted, and with the owners of files that were unpacked without.

        Raises NotFoundError when one of them is missing or can't be had again, InternalError when it is damaged.
        """
        for diff_id in dict.fromkeys(image.diff_ids):
            if not self.layers.has(diff_id):
                raise NotFoundError(
                    f"layer {diff_id} of image {(*image.references, image.id)[0]} is missing in {self._paths.layers}",
                    "pull, load or build the image again",
                )
            if self.layers.lacks_owners(diff_id):
                async with self.transfers.alone(diff_id):
                    if self.layers.lacks_owners(diff_id):
                        await self.layers.renew(diff_id)
            elif not self.layers.is_ready(diff_id):
                # that may take its whole archive, to make a lost index again or to unpack it
                async with self.garbage.held_off():
                    await anyio.to_thread.run_sync(self.layers.directory, diff_id)
        return image

    async def commit_layer(self, upper: Path) -> str:
        """Make the overlay upper directory `upper` a layer (see `Layers.commit`)."""
        return await self.layers.commit(upper)

    def collect_garbage(self) -> int:
        """Throw away layers and blobs that no image needs; return their bytes (see `Garbage.collect`)."""
        return self.garbage.collect()


def _key(reference: Reference) -> str:
    """Return the reference as the store keeps it: next to a digest, a tag says nothing more."""
    return str(reference if reference.digest is None else replace(reference, tag=None))


def now() -> str:
    """Return this moment as image configurations write it (RFC 3339)."""
    return rfc3339(time.time())


def rfc3339(moment_s: float) -> str:
    """Return a moment (seconds since 1970) as image configurations write it."""
    return datetime.fromtimestamp(moment_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
