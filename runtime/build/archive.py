"""Tar streams into a tree: a build's context, and the archives that ADD unpacks."""

from __future__ import annotations

import io
import os
import posixpath
import shutil
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

import anyio
import anyio.to_thread

from runtime.build.tree import Entry
from runtime.build.writer import Owner, Writer
from runtime.errors import BadRequestError

_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")
_TAR_MAGIC_OFFSET = 257


async def unpack_context(chunks: AsyncIterator[bytes], directory: Path) -> None:
    """Unpack a build context, a tar stream (plain, gzip, bzip2 or xz), into the empty `directory`.

    Owners become 0:0, as Docker's do. Raises BadRequestError for a stream that is not an archive.
    """
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_feed, chunks, writing)
                await anyio.to_thread.run_sync(_unpack_and_drain, source, Writer(directory), abandon_on_cancel=False)
        except* BadRequestError as errors:
            raise errors.exceptions[0] from None


async def _feed(chunks: AsyncIterator[bytes], writing: int) -> None:
    # the write end is closed by whoever ends first, so the reader always sees an end
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
        unpack(source, writer, "/", keep_owner=False)
        while source.read(1 << 16):
            pass


def is_archive(entry: Entry) -> bool:
    """Return whether a file is one that ADD unpacks: judged by content, not by name."""
    with open(entry.location, "rb") as file:
        head = file.read(_TAR_MAGIC_OFFSET + 5)
    if not head.startswith(_MAGIC) and head[_TAR_MAGIC_OFFSET:] != b"ustar":
        return False
    try:
        with tarfile.open(entry.location) as archive:
            archive.next()
    except (tarfile.TarError, OSError, EOFError):
        return False
    return True


def unpack(source: IO[bytes], writer: Writer, destination: str, *, keep_owner: bool) -> None:
    """Unpack a tar stream below `destination`; what is there stays unless the archive replaces it.

    Raises BadRequestError for a stream that is not a whole archive, and for a member that cannot be placed.
    """
    directories: list[tuple[str, int]] = []
    try:
        with tarfile.open(fileobj=source, mode="r|*") as archive:
            for member in archive:
                _place(archive, member, writer, destination, Owner(member.uid, member.gid) if keep_owner else Owner())
                if member.isdir():
                    directories.append((member.name, int(member.mtime * 10**9)))
    except (tarfile.TarError, EOFError, io.UnsupportedOperation) as error:
        raise BadRequestError(f"the archive cannot be read: {error}") from None
    # last: every file made in a directory changed its time
    for name, mtime_ns in directories:
        location = writer.directory(_inside(destination, name))
        os.utime(location, ns=(mtime_ns, mtime_ns))


def _inside(destination: str, name: str) -> str:
    # ".." at the front cannot climb out: normpath of an absolute path stops at its root
    return posixpath.join(destination, posixpath.normpath("/" + name.lstrip("/")).lstrip("/"))


def _place(archive: tarfile.TarFile, member: tarfile.TarInfo, writer: Writer, destination: str, owner: Owner) -> None:
    path = _inside(destination, member.name)
    if member.isdir():
        writer.put_directory(path, owner, member.mode & 0o7777)
        return
    if member.islnk():
        target = writer.tree.find(_inside(destination, member.linkname), follow=False)
        if target is None or target.is_directory:
            raise BadRequestError(f"the archive's hard link {member.name} leads to {member.linkname}, which it lacks")
        if target.path == posixpath.normpath(path):
            return
        if target.location.startswith(f"{writer.upper}/"):
            os.link(target.location, writer.place(path, owner), follow_symlinks=False)
        else:
            writer.put_entry(path, target, owner, member.mode)
        return
    location = writer.place(path, owner)
    if member.issym():
        os.symlink(member.linkname, location)
    elif member.isreg():
        content = archive.extractfile(member)
        assert content is not None, "a regular member has content"
        with open(location, "xb") as file:
            shutil.copyfileobj(content, file, 1 << 18)
    elif member.isfifo():
        os.mkfifo(location)
    else:
        kind = 0o020000 if member.ischr() else 0o060000
        os.mknod(location, kind | 0o600, os.makedev(member.devmajor, member.devminor))
    capabilities = member.pax_headers.get("SCHILY.xattr.security.capability")
    xattrs = {"security.capability": capabilities.encode("utf-8", "surrogateescape")} if capabilities else {}
    writer.finish(location, owner, member.mode, int(member.mtime * 10**9), xattrs)
