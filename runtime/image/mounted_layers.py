"""Layers that are mounted and not unpacked: their uncompressed archive, and an EROFS index of it.

    layers/<digest>/layer.tar      the archive, as it came
    layers/<digest>/index.erofs    names, attributes, and where in the archive each file's content lies
    layers/<digest>/diff           where both are mounted: the directory of any other layer

An archive is written once and read where it lies: a layer of 30,000 files costs two files. Saving and pushing it copies the
archive. Where the kernel can't mount it, or the archive has what the index can't say, the layer is unpacked.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from runtime.errors import BadRequestError, InternalError, KernelError
from runtime.image import tar
from runtime.image.content import BlobWriter
from runtime.image.erofs import LABEL, LABEL_BYTES, image_of
from runtime.image.layer_tree import Node, UnfitError, read_tree
from runtime.image.tar_writer import header
from runtime.image.unpack import Blob, Pieces, Unpacked, faults, ignore, unpack
from runtime.linux import syscalls as linux
from runtime.linux import userns
from runtime.linux.durability import sync_file, sync_tree
from runtime.linux.erofs import is_mounted, made_mount, mount_image

ARCHIVE, INDEX, FILES = "layer.tar", "index.erofs", "diff"
READ_BYTES = 1 << 20
logger = logging.getLogger(__name__)


class MountedLayers:
    """Writes, mounts and unmounts them."""

    def __init__(
        self, scratch: Path, assembly: str, *, is_wanted: bool, on_unpack: Callable[[Path], None] | None = None
    ) -> None:
        """`scratch` is a directory for what is not finished, on the filesystem of the layers.

        `assembly` names the file that an unpacked layer has next to its directory. Unless `is_wanted`, no layer is written
        to be mounted. `on_unpack` is called with the directory of a layer that has been unpacked, before its archive goes.
        """
        self._on_unpack = on_unpack
        self._scratch = scratch
        self._assembly = assembly
        self._is_wanted = is_wanted
        self._is_possible: bool | None = None
        self._lock = threading.Lock()

    @property
    def is_possible(self) -> bool:
        """Whether this kernel mounts such layers for this process; tried once. Blocking."""
        with self._lock:
            if self._is_possible is None:
                self._is_possible = self._is_wanted and userns.is_initial() and self._try()
            return self._is_possible

    def _try(self) -> bool:
        self._scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._scratch, prefix="mount-") as scratch:
            try:
                try_mount(Path(scratch))
            except (KernelError, OSError) as error:
                logger.info("layers are unpacked, as their archives can't be mounted: %s", error)
                return False
        return True

    def write(self, blob: Blob, target: Path, progress: Callable[[int], None] | None) -> Unpacked | None:
        """Write the layer at `blob` into the new directory `target`; None if it must be unpacked. Blocking.

        `progress` takes the bytes of `blob` read so far. Raises what `unpack` does.
        """
        if not self.is_possible:
            return None
        (target / FILES).mkdir(parents=True)
        with (
            faults(target),
            open(target / ARCHIVE, "xb", buffering=0) as archive,
            Pieces(blob, progress, target, archive) as pieces,
        ):
            source = tar.Input(iter(pieces), ignore)
            try:
                root, size_bytes = read_tree(source)
                source.rest()
                image = image_of(root, archive.tell())
            except UnfitError as error:
                logger.info("a layer is unpacked: %s", error)
                return None
            unpacked = Unpacked(pieces.digest(), size_bytes, archive.tell())
            _write_index(target / INDEX, image, unpacked.diff_id)
            os.fchmod(archive.fileno(), 0o400)
            return unpacked

    def make(self, target: Path, write: Callable[[IO[bytes]], tuple[Node, int]]) -> Unpacked:
        """Write a new layer into the new directory `target`; only where that `is_possible`. Blocking.

        `write` writes its archive to a file, and returns its tree and the bytes of its files. Raises UnfitError for what
        no index can say, and what `write` raises.
        """
        (target / FILES).mkdir(parents=True)
        with open(target / ARCHIVE, "xb") as archive:
            out = BlobWriter(archive)
            root, size_bytes = write(cast(IO[bytes], out))
            _write_index(target / INDEX, image_of(root, out.size), out.digest)
            os.fchmod(archive.fileno(), 0o400)
            return Unpacked(out.digest, size_bytes, out.size)

    def ensure(self, layer: Path, archive_bytes: int | None) -> None:
        """Mount the layer in the directory `layer`, if it has an archive and is not mounted.

        `archive_bytes` is its size, if that is known. Raises InternalError if it is damaged.
        """
        if (fault := self.fault(layer, archive_bytes)) is not None:
            raise _damaged(layer, fault)
        if not (layer / ARCHIVE).exists():
            return
        with self._lock:
            if not is_mounted(layer / FILES):
                self._mount(layer)

    def is_ready(self, layer: Path) -> bool:
        """Whether the layer in the directory `layer` is mounted, or has no archive."""
        return not (layer / ARCHIVE).exists() or is_mounted(layer / FILES)

    def fault(self, layer: Path, archive_bytes: int | None) -> str | None:
        """Return what is wrong with the archive of the layer in the directory `layer`, None if it has none or is whole.

        `archive_bytes` is its size, if that is known. What was changed within it is not found.
        """
        try:
            found = os.stat(layer / ARCHIVE)
        except FileNotFoundError:
            return "its archive is lost" if (layer / INDEX).exists() or self._is_bare(layer, archive_bytes) else None
        if archive_bytes is not None and found.st_size != archive_bytes:
            return f"its archive has {found.st_size} of {archive_bytes} bytes"
        return None

    def _is_bare(self, layer: Path, archive_bytes: int | None) -> bool:
        """Whether a layer that came with an archive has neither that nor what `_unpack` makes of it."""
        if archive_bytes is None or (layer / self._assembly).exists():
            return False
        return (layer / FILES).is_dir() and not any(os.scandir(layer / FILES))

    def _mount(self, layer: Path) -> None:
        try:
            _check_label(layer)
            mount_image(layer / INDEX, layer / ARCHIVE, layer / FILES)
        except (KernelError, OSError) as first:
            logger.warning("%s can't be mounted, and is made again: %s", layer / INDEX, first)
            try:
                self._make_index(layer)
                mount_image(layer / INDEX, layer / ARCHIVE, layer / FILES)
            except (KernelError, OSError, UnfitError) as error:
                logger.warning("%s is unpacked, as it can't be mounted: %s", layer / ARCHIVE, error)
                self._unpack(layer)

    def _make_index(self, layer: Path) -> None:
        digest = hashlib.sha256()
        with open(layer / ARCHIVE, "rb", buffering=0) as archive:
            source = tar.Input(_digested(iter(lambda: archive.read(READ_BYTES), b""), digest), ignore)
            root, _ = read_tree(source)
            source.rest()
            image = image_of(root, os.fstat(archive.fileno()).st_size)
        if digest.hexdigest() != layer.name:
            raise _damaged(layer, "its archive was changed")
        with tempfile.TemporaryDirectory(dir=self._scratch, prefix="index-") as scratch:
            made = Path(scratch, INDEX)
            _write_index(made, image, f"sha256:{layer.name}")
            sync_tree(Path(scratch))
            made.rename(layer / INDEX)

    def _unpack(self, layer: Path) -> None:
        """Make it a layer that is unpacked. After a crash at any point it is still one of both."""
        with tempfile.TemporaryDirectory(dir=self._scratch, prefix="layer-") as scratch:
            target = Path(scratch, "layer")
            try:
                unpacked = unpack(layer / ARCHIVE, target / FILES, None, target / self._assembly)
            except BadRequestError as error:
                raise _damaged(layer, error.message) from error
            if unpacked.diff_id.partition(":")[2] != layer.name:
                raise _damaged(layer, "its archive was changed")
            sync_tree(target)
            if (target / self._assembly).exists():
                os.rename(target / self._assembly, layer / self._assembly)
            try:
                os.rename(target / FILES, layer / FILES)
            except OSError as error:  # there already, when the last engine crashed
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        if self._on_unpack is not None:
            self._on_unpack(layer)
        # an index without an archive means that the archive is lost: that goes last, once the files are there for good
        (layer / INDEX).unlink(missing_ok=True)
        sync_file(layer)
        (layer / ARCHIVE).unlink(missing_ok=True)

    def release(self, layer: Path) -> None:
        """Unmount the layer in the directory `layer`, if it is mounted; containers that use it keep it."""
        # it may be mounted though its archive is lost
        with self._lock, suppress(FileNotFoundError):
            if is_mounted(layer / FILES):
                linux.umount2(str(layer / FILES), linux.MNT_DETACH)


def _write_index(path: Path, image: bytes, diff_id: str) -> None:
    with open(path, "xb") as file:
        file.write(image)
        file.seek(LABEL)
        file.write(_label(diff_id.partition(":")[2]))
        os.fchmod(file.fileno(), 0o400)


def _label(digest: str) -> bytes:
    return digest[:LABEL_BYTES].encode()


def _check_label(layer: Path) -> None:
    """Raise OSError if the index of the layer in the directory `layer` is that of another one."""
    with open(layer / INDEX, "rb") as index:
        index.seek(LABEL)
        if index.read(LABEL_BYTES) != _label(layer.name):
            raise OSError("it is the index of another layer")


def _digested(pieces: Iterator[bytes], digest: hashlib._Hash) -> Iterator[bytes]:
    for piece in pieces:
        digest.update(piece)
        yield piece


def copy_archive(layer: Path, diff_id: str, out: IO[bytes]) -> bool:
    """Write the archive of the layer in the directory `layer` to `out`; return whether it has one.

    Raises InternalError if it is not that of `diff_id`: an image that is saved or pushed may not differ from the one here.
    """
    try:
        archive = open(layer / ARCHIVE, "rb", buffering=0)  # noqa: SIM115 - closed below
    except FileNotFoundError:
        return False
    writer = BlobWriter(out)
    with archive:
        shutil.copyfileobj(archive, writer, READ_BYTES)
    if writer.digest != diff_id:
        raise _damaged(layer, "its archive was changed")
    return True


def try_mount(scratch: Path) -> None:
    """Mount a layer of one file in the empty directory `scratch`, and read it. Raises KernelError or OSError."""
    content = b"content"
    member = tarfile.TarInfo("file")
    member.size = len(content)
    archive = header(member) + content + bytes(tar.padding(len(content)))
    source = tar.Input(iter([archive]), ignore)
    (scratch / ARCHIVE).write_bytes(archive)
    (scratch / INDEX).write_bytes(image_of(read_tree(source)[0], len(archive)))
    # at no place in the tree: if this process is killed now, nothing stays mounted
    with made_mount(scratch / INDEX, scratch / ARCHIVE) as mounted:
        if Path(f"/proc/self/fd/{mounted}/file").read_bytes() != content:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(scratch / ARCHIVE))


def _damaged(layer: Path, what: str) -> InternalError:
    return InternalError(
        f"layer {layer.name[:12]} is damaged: {what} ({layer / ARCHIVE})", "pull, load or build its image again"
    )
