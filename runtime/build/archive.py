"""Tar streams into a tree: a build's context, and the archives that ADD unpacks."""

from __future__ import annotations

import io
import os
import posixpath
import shutil
import tarfile
from collections.abc import AsyncIterator, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, BinaryIO, cast

import anyio
import anyio.to_thread

from runtime.build.tree import Tree
from runtime.build.writer import Owner, Writer
from runtime.errors import BadRequestError
from runtime.image.compression import CompressionError, decoded
from runtime.image.transfers import together
from runtime.linux import userns

END_BYTES = 3 * tarfile.BLOCKSIZE - 1
"""The most that can be missing: the padding of the last member, and two blocks of zeros."""


async def unpack_context(chunks: AsyncIterator[bytes], directory: Path) -> None:
    """Unpack a build context, a tar stream (plain, gzip, bzip2, xz or zstd), into the empty `directory`.

    Owners become 0:0, as Docker's do. Raises BadRequestError for a stream that is not an archive.
    """
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source:
        async with together() as group:
            group.start_soon(_feed, chunks, writing)
            await anyio.to_thread.run_sync(_unpack_and_drain, source, Writer(directory), abandon_on_cancel=False)


async def _feed(chunks: AsyncIterator[bytes], writing: int) -> None:
    # the write end is closed by the task that ends first, so the reader always gets end of file
    try:
        async for chunk in chunks:
            await anyio.to_thread.run_sync(_write_all, writing, chunk)
    except BrokenPipeError:
        return
    finally:
        os.close(writing)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _unpack_and_drain(source: IO[bytes], writer: Writer) -> None:
    # closed here, so that a refused archive also ends the writer that waits for a reader
    with source:
        unpack(source, writer, "/", keep_owner=False, may_lack_end=True)
        while source.read(1 << 16):
            pass


def is_archive(location: str | Path) -> bool:
    """Return whether a file is one that ADD unpacks: judged by content, not by name."""
    try:
        with open(location, "rb") as file:
            first = b""
            for piece in decoded(file):
                first += piece
                if len(first) >= tarfile.BLOCKSIZE:
                    break
            tarfile.TarInfo.frombuf(first[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except (tarfile.HeaderError, CompressionError):
        return False
    return True


def unpack(
    source: IO[bytes],
    writer: Writer,
    destination: str,
    *,
    keep_owner: bool,
    owner: Owner | None = None,
    may_lack_end: bool = False,
) -> None:
    """Unpack a tar stream (plain, gzip, bzip2, xz or zstd) below `destination`.

    What is there stays unless the archive replaces it, which anything does but a directory a directory. Everything
    belongs to `owner`, or with `keep_owner` to the owner that the archive names. Raises BadRequestError for a stream that is
    not a whole archive, and for a member that cannot be placed; with `may_lack_end` the padding after its last member is no part
    of the whole.
    """
    directories: list[tuple[str, int]] = []
    places = _Places(writer, destination)
    pieces = decoded(cast(BinaryIO, source))
    if may_lack_end:  # `docker build -f -` adds the Dockerfile it read to the end of the context, and nothing after it
        pieces = chain(pieces, (bytes(END_BYTES),))
    plain = cast(IO[bytes], _PieceFile(pieces))
    try:
        with tarfile.open(fileobj=plain, mode="r|") as archive:
            for member in archive:
                own = Owner(member.uid, member.gid) if keep_owner else owner or Owner()
                if member.isdir() and posixpath.normpath(member.name.lstrip("/")) == ".":
                    continue  # the directory itself stays what it is
                _place(archive, member, writer, places, own)
                if member.isdir():
                    directories.append((member.name, int(member.mtime * 10**9)))
    except (tarfile.TarError, EOFError, CompressionError, io.UnsupportedOperation) as error:
        raise BadRequestError(f"the archive cannot be read: {error}") from None
    # last: every file made in a directory changed its time
    for name, mtime_ns in directories:
        location = writer.directory(places.of(name))
        os.utime(location, ns=(mtime_ns, mtime_ns))


class _PieceFile:
    """Pieces of a stream as a file that can be read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; none at the end."""
        if not self._rest:
            self._rest = next(self._pieces, b"")
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


class _Places:
    """Where an archive's members go: below `destination`, which is the root of all links on the way there."""

    def __init__(self, writer: Writer, destination: str) -> None:
        self._writer = writer
        self._destination = destination
        self._known: dict[str, str] = {}

    def of(self, name: str) -> str:
        """Return the path of the member `name`. Raises BadRequestError for one outside of the archive."""
        path = posixpath.normpath(name.lstrip("/"))
        if path == ".." or path.startswith("../"):
            raise BadRequestError(f"the archive's member {name} lies outside of it", "make the archive without `..`")
        parent = posixpath.dirname(path)
        if parent not in self._known:
            self._known[parent] = self._resolved(parent)
        return posixpath.join(self._destination, self._known[parent], posixpath.basename(path))

    def forget(self) -> None:
        """Take into account that a link was made or replaced."""
        self._known.clear()

    def _resolved(self, parent: str) -> str:
        root = self._writer.tree.find(self._destination)
        if root is None or not root.is_directory:
            return parent
        inner, resolved = Tree([Path(part) for part in root.directories]), ""
        for name in filter(None, parent.split("/")):
            resolved = inner.resolve("/" + posixpath.join(resolved, name)).lstrip("/")
            resolved = posixpath.normpath("/" + resolved).lstrip("/")
        return resolved


def _place(archive: tarfile.TarFile, member: tarfile.TarInfo, writer: Writer, places: _Places, owner: Owner) -> None:
    path = places.of(member.name)
    if posixpath.dirname(path) != "/":
        # directories that the archive uses and does not have belong to root
        writer.directory(posixpath.dirname(path), Owner(), 0o755)
    if member.isdir() or member.issym():
        places.forget()
    if member.isdir():
        writer.replace(path, owner, by_directory=True)
        writer.put_directory(path, owner, member.mode & 0o7777)
        return
    if member.islnk():
        target = writer.tree.find(places.of(member.linkname), follow=False)
        if target is None or target.is_directory:
            raise BadRequestError(f"the archive's hard link {member.name} leads to {member.linkname}, which it lacks")
        if target.path == posixpath.normpath(path):
            return
        if target.location.startswith(f"{writer.upper}/"):
            os.link(target.location, writer.replace(path, owner), follow_symlinks=False)
        else:
            writer.replace(path, owner)
            writer.put_entry(path, target, owner, member.mode)
        return
    location = writer.replace(path, owner)
    if member.issym():
        os.symlink(member.linkname, location)
    elif member.isreg():
        content = archive.extractfile(member)
        assert content is not None, "a regular member has content"
        with open(location, "xb") as file:
            shutil.copyfileobj(content, file, 1 << 18)
    elif member.isfifo():
        os.mkfifo(location)
    elif not userns.is_initial():  # nodes of devices are for the machine's own root alone (mknod(2))
        return
    else:
        kind = 0o020000 if member.ischr() else 0o060000
        os.mknod(location, kind | 0o600, os.makedev(member.devmajor, member.devminor))
    capabilities = member.pax_headers.get("SCHILY.xattr.security.capability")
    xattrs = {"security.capability": capabilities.encode("utf-8", "surrogateescape")} if capabilities else {}
    writer.finish(location, owner, member.mode, int(member.mtime * 10**9), xattrs)
