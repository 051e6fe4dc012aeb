"""A layer's tar stream becomes a directory that overlayfs can use (OCI image layer specification, "Applying")."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

from runtime.errors import BadRequestError

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
OPAQUE_XATTR = "trusted.overlay.opaque"
XATTR_PREFIX = "SCHILY.xattr."


class _Digesting:
    """A readable stream that digests what is read through it."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self.hash.update(data)
        return data


def decompressed(source: BinaryIO) -> IO[bytes]:
    """Return `source` (seekable) as a plain stream: gzip, xz and uncompressed are told by their first bytes."""
    magic = source.read(6)
    source.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=source))
    if magic == b"\xfd7zXZ\x00":
        return lzma.LZMAFile(source)
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        raise BadRequestError("the layer is compressed with zstd, which this Python lacks", "push it with gzip")
    return source


@dataclass(frozen=True)
class Unpacked:
    """A layer that was unpacked: its `diff_id`, and the bytes of its files."""

    diff_id: str
    size_bytes: int


def unpack(blob: Path, target: Path, told: Callable[[int], None] | None = None) -> Unpacked:
    """Unpack the layer at `blob` into the new directory `target`; `told` takes the bytes of `blob` read so far.

    Every path is taken below `target`: absolute names and ".." are refused, and no link of the layer is followed.
    Raises BadRequestError on a malformed layer.
    """
    target.mkdir(parents=True)
    with open(blob, "rb", buffering=1 << 20) as file:
        stream = _Digesting(decompressed(file))
        try:
            with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|", bufsize=1 << 20) as tar:
                size_bytes = _extract(tar, str(target))
        except (tarfile.TarError, EOFError, gzip.BadGzipFile, lzma.LZMAError) as error:
            raise BadRequestError(
                f"the layer can't be read: {error}", "it is damaged: pull or build it again"
            ) from error
        while stream.read(1 << 20):
            pass
    return Unpacked(f"sha256:{stream.hash.hexdigest()}", size_bytes)


def _extract(tar: tarfile.TarFile, root: str) -> int:
    size_bytes = 0
    directories: list[tuple[str, tarfile.TarInfo]] = []
    known = {root}
    for member in tar:
        relative = _safe(member.name)
        if relative == ".":
            path = root
        else:
            path = f"{root}/{relative}"
            parent, _, name = path.rpartition("/")
            if parent not in known:
                _make_parents(root, relative)
                known.add(parent)
            if name.startswith(WHITEOUT):
                _whiteout(parent, name)
                continue
        if member.isdir():
            if path != root:
                _make_directory(path)
            known.add(path)
            directories.append((path, member))
            continue
        known.discard(path)
        size_bytes += member.size
        _make(tar, member, root, path)
        _attributes(path, member)
        if not member.islnk():
            os.utime(path, ns=_times(member), follow_symlinks=False)
    for path, member in reversed(directories):
        _attributes(path, member)
        os.utime(path, ns=_times(member))
    return size_bytes


def _safe(name: str) -> str:
    normal = os.path.normpath(name.lstrip("/") or ".")
    if normal == ".." or normal.startswith("../"):
        raise BadRequestError(f"the layer's entry {name!r} leads outside")
    return normal


def _make_parents(root: str, relative: str) -> None:
    """Make the directories above `relative`; something else in the way, a link too, is replaced by a directory."""
    path = root
    for part in relative.split("/")[:-1]:
        path = f"{path}/{part}"
        _make_directory(path)


def _make_directory(path: str) -> None:
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        if os.path.islink(path) or not os.path.isdir(path):
            os.unlink(path)
            os.mkdir(path, 0o755)


def _whiteout(parent: str, name: str) -> None:
    if name == OPAQUE:
        os.setxattr(parent, OPAQUE_XATTR, b"y")
        return
    hidden = f"{parent}/{name[len(WHITEOUT) :]}"
    if not os.path.lexists(hidden):
        # overlayfs: a whiteout is a 0/0 character device (kernel Documentation/filesystems/overlayfs.rst)
        os.mknod(hidden, 0o020000, 0)


def _make(tar: tarfile.TarFile, member: tarfile.TarInfo, root: str, path: str) -> None:
    if os.path.lexists(path):
        if os.path.isdir(path) and not os.path.islink(path):
            raise BadRequestError(f"the layer has {member.name!r} both as a directory and as something else")
        os.unlink(path)
    if member.isreg():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            source = tar.fileobj
            assert source is not None
            left = member.size
            content = tar.extractfile(member)
            assert content is not None
            while left:
                chunk = content.read(min(left, 1 << 20))
                if not chunk:
                    raise tarfile.ReadError("unexpected end of data")
                os.write(descriptor, chunk)
                left -= len(chunk)
        finally:
            os.close(descriptor)
    elif member.issym():
        os.symlink(member.linkname, path)
    elif member.islnk():
        source_path = _safe(member.linkname)
        _refuse_links(root, source_path)
        os.link(f"{root}/{source_path}", path, follow_symlinks=False)
    elif member.ischr() or member.isblk():
        kind = 0o020000 if member.ischr() else 0o060000
        os.mknod(path, kind | 0o600, os.makedev(member.devmajor, member.devminor))
    elif member.isfifo():
        os.mkfifo(path, 0o600)


def _refuse_links(root: str, relative: str) -> None:
    """A hard link's target may not lie behind a symbolic link: that could lead out of the layer."""
    path = root
    for part in relative.split("/")[:-1]:
        path = f"{path}/{part}"
        if os.path.islink(path):
            raise BadRequestError(f"the layer links to {relative!r} through a symbolic link")


def _attributes(path: str, member: tarfile.TarInfo) -> None:
    if member.islnk():
        return
    os.chown(path, member.uid, member.gid, follow_symlinks=False)
    if not member.issym():
        os.chmod(path, member.mode & 0o7777)
    for key, value in member.pax_headers.items():
        if key.startswith(XATTR_PREFIX):
            os.setxattr(
                path,
                key[len(XATTR_PREFIX) :],
                value.encode("utf-8", "surrogateescape"),
                follow_symlinks=False,
            )


def _times(member: tarfile.TarInfo) -> tuple[int, int]:
    time_ns = int(float(member.mtime) * 1_000_000_000)
    return time_ns, time_ns
