"""Layers: once in `layers/<diff ID>/diff`, mounted or unpacked, and where their blobs are known.

What touches the disk runs in worker threads; the store is changed in the caller's task alone.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import anyio.to_thread

from runtime.errors import BadRequestError, NotFoundError
from runtime.image.assembly import assemble
from runtime.image.compression import decoded
from runtime.image.content import ContentStore
from runtime.image.layer_tree import Node
from runtime.image.manifest import Descriptor
from runtime.image.mounted_layers import FILES, MountedLayers, copy_archive
from runtime.image.pack import pack
from runtime.image.unpack import Blob, Unpacked, unpack
from runtime.linux import userns
from runtime.linux.durability import sync_file, sync_tree
from runtime.paths import Paths
from runtime.store import Store, record
from runtime.store.layout import LAYER
from runtime.store.shapes import LAYER_RECORD, fitting
from runtime.trash import Trash

DIFF_ID = re.compile("[0-9a-f]{64}")
ONE_USER = "one_user"
"""Member of the record of a layer that was unpacked in a user namespace of one user: all its files are of root there."""
ASSEMBLY = "assembly"
"""File, next to a layer's directory, with what it takes to write its archive again."""


@dataclass(frozen=True)
class LayerSource:
    """From where a layer's archive can be written again: its directory, and its blob where that was kept."""

    diff_id: str
    directory: Path
    blob: Path | None

    def write(self, out: IO[bytes]) -> None:
        """Write the uncompressed archive to `out`. Blocking.

        Its digest is the diff ID, but for a layer that could neither be kept to the byte nor was made here. Raises
        InternalError for an archive that is damaged.
        """
        if copy_archive(self.directory.parent, self.diff_id, out):
            return
        assembly = self.directory.parent / ASSEMBLY
        if self.blob is not None:
            with open(self.blob, "rb") as file:
                for piece in decoded(file):
                    out.write(piece)
        elif assembly.exists():
            assemble(assembly, self.directory, out)
        else:
            pack(self.directory, out)


class Layers:
    """The layers of one engine."""

    def __init__(
        self, paths: Paths, store: Store, content: ContentStore, trash: Trash, *, mounts: bool = False
    ) -> None:
        """With `mounts` new layers are mounted where that is possible: `release` must be called at the end."""
        self._paths = paths
        self._store = store
        self._content = content
        self._trash = trash
        self._records: dict[str, dict[str, Any]] = {}
        self._has_one_user = userns.has_one_user()
        self.mounted = MountedLayers(paths.tmp, ASSEMBLY, is_wanted=mounts, on_unpack=self._note_owners)

    def directory(self, diff_id: str) -> Path:
        """Return the directory with the files of the layer, in overlayfs's format. Raises InternalError if it is damaged."""
        home = self._home(diff_id)
        self.mounted.ensure(home, self._record(diff_id).get("archive"))
        return home / FILES

    def place(self, diff_id: str) -> Path:
        """Return where that directory is, whether it is mounted now or not."""
        return self._home(diff_id) / FILES

    def is_ready(self, diff_id: str) -> bool:
        """Whether `directory` has nothing to mount, and so blocks for no time."""
        return self.mounted.is_ready(self._home(diff_id))

    def _home(self, diff_id: str) -> Path:
        return self._paths.layers / diff_id.partition(":")[2]

    def has(self, diff_id: str) -> bool:
        """Whether the layer is here."""
        # it is moved there when it is whole, and its files are on the disk
        return (self._home(diff_id) / FILES).is_dir()

    def fault(self, diff_id: str) -> str | None:
        """Return what is wrong with a layer as far as it can be said without reading it, None if nothing is."""
        if not self.has(diff_id):
            return f"it is missing in {self._paths.layers}"
        return self.mounted.fault(self._home(diff_id), self._record(diff_id).get("archive"))

    def is_whole(self, diff_id: str) -> bool:
        """Whether the layer is here, and not known to be damaged: otherwise it must be had again."""
        return self.fault(diff_id) is None

    def known(self) -> Iterator[str]:
        """Yield the diff IDs of all layers; what else lies among them is none of ours."""
        if not self._paths.layers.is_dir():
            return
        for entry in os.scandir(self._paths.layers):
            if DIFF_ID.fullmatch(entry.name) and os.path.isdir(f"{entry.path}/{FILES}"):
                yield f"sha256:{entry.name}"

    def remove(self, diff_id: str) -> None:
        """Remove a layer that nothing needs."""
        self._records.pop(diff_id, None)
        self.mounted.release(self._home(diff_id))
        self._trash.throw(self._home(diff_id))

    def release(self) -> None:
        """Unmount all layers; containers that run keep theirs. Blocking."""
        for diff_id in self.known():
            self.mounted.release(self._home(diff_id))

    def _record(self, diff_id: str) -> dict[str, Any]:
        """Return what the layer's record says; without one, nothing of it but its files is known."""
        if diff_id not in self._records:
            found = record.read(self._place(diff_id)).document
            document, misfit = fitting(found or {}, LAYER_RECORD)
            if found is None or misfit:
                return {"size": 0}
            self._records[diff_id] = {"size": 0, **document}
        return self._records[diff_id]

    def _place(self, diff_id: str) -> Path:
        return self._home(diff_id) / LAYER

    def size(self, diff_id: str) -> int:
        """Return the bytes of the layer's files; 0 when it is not here."""
        return int(self._record(diff_id)["size"])

    def blob(self, diff_id: str) -> Descriptor | None:
        """Return the blob that a registry knows this layer as; the blob itself may not be here."""
        known = self._record(diff_id).get("blob")
        return Descriptor.of(known) if known else None

    def repositories(self, diff_id: str) -> list[str]:
        """Return the repositories (domain/path) that are known to have the layer's blob."""
        return list(self._record(diff_id).get("repositories") or ())

    def source(self, diff_id: str) -> LayerSource:
        """Return from where the layer can be read."""
        blob = self.blob(diff_id)
        kept = self._content.path(blob.digest) if blob is not None and self._content.has(blob.digest) else None
        return LayerSource(diff_id, self._home(diff_id) / FILES, kept)

    def know(self, diff_id: str, blob: Descriptor, repository: str | None = None) -> None:
        """Keep that the layer is `blob` in `repository`."""
        document = self._record(diff_id)
        repositories = document.get("repositories") or [] if document.get("blob") == blob.document() else []
        if repository is not None and repository not in repositories:
            repositories = [*repositories, repository]
        changed = {**document, "blob": blob.document(), "repositories": repositories}
        if changed != document and self.has(diff_id):
            self._store.append(self._place(diff_id), record.encode(changed), is_new=False, is_durable=True)
            self._records[diff_id] = changed

    async def add(
        self, archive: Blob, expected: str | None = None, progress: Callable[[int], None] | None = None
    ) -> str:
        """Make `archive` a layer; return its diff ID. `progress` takes the archive's bytes read so far.

        Raises BadRequestError when it is damaged or is not the `expected` layer; then nothing stays.
        """
        unpacked = await anyio.to_thread.run_sync(self._unpack, archive, expected, progress)
        self._store.mark_directory(self._paths.layers)
        return unpacked.diff_id

    @contextmanager
    def _target(self) -> Iterator[Path]:
        """Give the path of a directory for a new layer, on the filesystem of the layers; what stays there goes."""
        self._paths.tmp.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._paths.tmp, prefix="layer-") as scratch:
            yield Path(scratch) / "layer"

    def _unpack(self, archive: Blob, expected: str | None, progress: Callable[[int], None] | None) -> Unpacked:
        with self._target() as target:
            unpacked = self.mounted.write(archive, target, progress)
            if unpacked is None:
                shutil.rmtree(target, ignore_errors=True)
                unpacked = unpack(archive, target / FILES, progress, target / ASSEMBLY)
            if expected is not None and unpacked.diff_id != expected:
                raise BadRequestError(
                    f"the layer's content is {unpacked.diff_id}, its image says {expected}", "load or pull it again"
                )
            self._install(target, unpacked)
        return unpacked

    def _note_owners(self, home: Path) -> None:
        """Record, at once, that a layer's files have lost their owners if they have; its archive is about to go."""
        if self._has_one_user:
            diff_id = f"sha256:{home.name}"
            marked = {**self._record(diff_id), ONE_USER: True}
            record.append(home / LAYER, record.encode(marked))
            sync_file(home / LAYER)
            self._records[diff_id] = marked

    def lacks_owners(self, diff_id: str) -> bool:
        """Whether the layer was unpacked where there was one user alone, and there are more now: its owners are lost."""
        return not self._has_one_user and bool(self._record(diff_id).get(ONE_USER))

    async def renew(self, diff_id: str) -> None:
        """Unpack a layer again from what is kept of it. Raises NotFoundError when that is too little."""
        await anyio.to_thread.run_sync(self._renew, diff_id)

    def _renew(self, diff_id: str) -> None:
        source, final = self.source(diff_id), self._home(diff_id)
        kept = {name: value for name, value in self._record(diff_id).items() if name != ONE_USER}
        with self._target() as target:
            archive = source.blob or target.with_name("archive")
            if source.blob is None:
                if not (final / ASSEMBLY).exists():
                    raise NotFoundError(
                        f"layer {diff_id} was made where there was one user alone, and has lost the owners of its files",
                        "build its image again",
                    )
                with open(archive, "wb") as out:
                    source.write(out)
            unpacked = unpack(archive, target / FILES, None, target / ASSEMBLY)
            if unpacked.diff_id != diff_id:
                raise NotFoundError(f"layer {diff_id} can't be unpacked again: it was changed", "pull its image again")
            record.append(target / LAYER, record.encode({**kept, "size": unpacked.size_bytes}))
            sync_tree(target)
            self._trash.throw(final)
            os.rename(target, final)
        self._records.pop(diff_id, None)
        self._store.mark_directory(self._paths.layers)

    async def commit(self, upper: Path) -> str:
        """Make the overlay upper directory `upper` a layer: it is moved, not copied; return its diff ID."""
        unpacked = await anyio.to_thread.run_sync(self._commit, upper)
        self._store.mark_directory(self._paths.layers)
        return unpacked.diff_id

    async def make(self, write: Callable[[IO[bytes]], tuple[Node, int]]) -> str:
        """Make a layer of the archive that `write` writes (see `MountedLayers.make`); return its diff ID."""
        unpacked = await anyio.to_thread.run_sync(self._make, write)
        self._store.mark_directory(self._paths.layers)
        return unpacked.diff_id

    def _make(self, write: Callable[[IO[bytes]], tuple[Node, int]]) -> Unpacked:
        with self._target() as target:
            made = self.mounted.make(target, write)
            self._install(target, made)
        return made

    def _commit(self, upper: Path) -> Unpacked:
        # the digest is what was wanted; the archive is written again, from the layer, when an image is saved or pushed
        with self._content.digest() as writer:
            size_bytes = pack(upper, writer)  # type: ignore[arg-type]
        holder = upper.parent / f"{upper.name}.layer"
        holder.mkdir()
        os.rename(upper, holder / FILES)
        unpacked = Unpacked(writer.digest, size_bytes)
        self._install(holder, unpacked)
        shutil.rmtree(holder, ignore_errors=True)
        return unpacked

    def _install(self, directory: Path, unpacked: Unpacked) -> None:
        """Move `directory` to its place; where another got there first with the same layer, that one stays if it is whole.

        A directory that stands there counts as a whole layer, so all its files are on the disk before.
        """
        final = self._paths.layers / unpacked.diff_id.partition(":")[2]
        final.parent.mkdir(parents=True, exist_ok=True)
        marks: dict[str, Any] = {ONE_USER: True} if self._has_one_user else {}
        if unpacked.archive_bytes is not None:
            marks["archive"] = unpacked.archive_bytes
        record.append(directory / LAYER, record.encode({"size": unpacked.size_bytes, **marks}))
        sync_tree(directory)
        try:
            # rename(2) replaces nothing but an empty directory: what stands there is whole, and the same
            os.rename(directory, final)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if not self.is_whole(unpacked.diff_id):
                self.remove(unpacked.diff_id)
                os.rename(directory, final)
