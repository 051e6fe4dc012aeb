"""`cp`: files and folders as tar streams, into containers and out of them (Docker Engine API, "archive")."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from typing import IO

from runtime.client import Client, PathStat
from runtime.errors import SkiffError

CHUNK_BYTES = 1 << 20
HIGH_MODE_BITS = 0o7022
"""Set-ID bits, the sticky bit, and writing by others."""
IN_MEMORY_BYTES = 16 << 20


def copy_in(client: Client, id: str, source: str | IO[bytes], path: str, *, follow_link: bool, owners: bool) -> None:
    """Copy `source` here to `path` in container `id`: into it where it is a folder, else under that name.

    Files keep their numbers of owner and group; with `owners` they get the container's user. An open file is read as a
    tar archive. Raises SkiffError for a source that is not there, and for a folder in the place of a file.
    """
    if not isinstance(source, str):
        client.archive_put(id, path or "/", _chunks(source), noOverwriteDirNonDir=1, copyUIDGID=int(owners))
        return
    if not os.path.lexists(source):
        raise SkiffError(f"{source}: no such file or directory", "correct the path")
    follows = follow_link and os.path.islink(source)
    real = os.path.realpath(source) if follows else source
    whole = os.path.abspath(real)
    is_contents = source.endswith(("/.", "/..")) or source in (".", "..")
    path, found = _followed(client, id, path or "/")
    if found and found.is_directory:
        folder, name = path, "." if is_contents else os.path.basename(os.path.abspath(source))
    elif os.path.isdir(real) and not os.path.islink(real) and found:
        raise SkiffError(f"{source}: cannot copy directory: {path} in the container is a file", "name another place")
    elif path.endswith("/") and not os.path.isdir(real):
        raise SkiffError(f"{path}: no such directory in the container", "make it, or leave the last slash out")
    else:
        folder, name = os.path.split(path.rstrip("/"))
    with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as out:
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            tar.add(whole, arcname=name)
        out.seek(0)
        client.archive_put(id, folder or "/", _chunks(out), noOverwriteDirNonDir=1, copyUIDGID=int(owners))


def copy_out(client: Client, id: str, path: str, destination: str | IO[bytes], *, follow_link: bool) -> None:
    """Copy `path` in container `id` to `destination` here; an open file gets a tar archive.

    Raises SkiffError for what is not there.
    """
    if not isinstance(destination, str):
        for data in client.archive_get(id, path):
            destination.write(data)
        return
    parent = os.path.dirname(os.path.realpath(destination))
    if not os.path.isdir(parent):
        raise SkiffError(f"{parent}: no such directory", "make it, or correct the path")
    if destination.endswith("/") and not os.path.isdir(destination):
        raise SkiffError(f"{destination}: no such directory", "make it, or leave the last slash out")
    with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as spool:
        for piece in client.archive_get(id, f"{path}/." if follow_link and _is_folder(client, id, path) else path):
            spool.write(piece)
        spool.seek(0)
        with tarfile.open(fileobj=spool) as tar:
            if os.path.exists(destination) and not os.path.isdir(destination) and not os.path.isfile(destination):
                _write_into(tar, destination)
            else:
                unpack(tar, path, os.path.realpath(destination))


def _write_into(tar: tarfile.TarFile, destination: str) -> None:
    """Write the one file of an archive into a device or a pipe. Raises SkiffError for anything else than a file."""
    member = tar.next()
    content = tar.extractfile(member) if member is not None and member.isreg() else None
    if content is None:
        raise SkiffError(f"{destination}: only a file can be copied into a device or a pipe", "name another place")
    with content, open(destination, "wb") as file:
        shutil.copyfileobj(content, file)


def unpack(tar: tarfile.TarFile, path: str, destination: str) -> None:
    """Unpack an archive of the container's `path` at `destination`, as cp(1) would.

    Raises SkiffError for a member that would be written elsewhere: archives from containers are not trusted.
    """
    into = destination if os.path.isdir(destination) else os.path.dirname(os.path.abspath(destination))
    wanted = "" if os.path.isdir(destination) else os.path.basename(destination.rstrip("/"))
    is_contents = path.endswith("/.")
    directories = []
    for member in tar:
        member.name = _local_name(member.name, wanted, is_contents=is_contents)
        if member.islnk() and not member.linkname.startswith("/"):
            member.linkname = _local_name(member.linkname, wanted, is_contents=is_contents)
        _extract(tar, member, into)
        if member.isdir():
            directories.append(member)
    for directory in reversed(directories):  # only now: there may be no right to write in it, and writing sets its time
        place = os.path.join(into, directory.name)
        os.chmod(place, directory.mode)
        os.utime(place, (directory.mtime, directory.mtime))


def _local_name(name: str, wanted: str, *, is_contents: bool) -> str:
    """Return where the member `name` of a container's archive goes; the first of its parts becomes `wanted`, if given."""
    first, slash, rest = name.removeprefix("./").partition("/")
    if not is_contents:
        return (wanted or first) + slash + rest
    return "/".join(filter(None, (wanted, "" if first == "." else first, rest))) or "."


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, into: str) -> None:
    """Extract `member` into the directory `into`: not through links that lead out of it, without set-ID bits.

    Python's own filters do that too, from 3.11.4 on. It belongs to the caller, as with `docker cp`. Raises SkiffError.
    """
    top = os.path.realpath(into)
    member.name = member.name.lstrip("/")
    member.mode &= ~HIGH_MODE_BITS
    member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
    for name in (os.path.dirname(member.name), member.linkname if member.islnk() else ""):
        if os.path.commonpath([top, os.path.realpath(os.path.join(top, name))]) != top:
            raise SkiffError(f"{member.name}: leads out of {into}", "copy what it leads to by its own name")
    if os.path.basename(member.name) == "..":
        raise SkiffError(f"{member.name}: leads out of {into}", "copy what it leads to by its own name")
    if member.islnk() and not os.path.lexists(os.path.join(top, member.linkname)):
        raise SkiffError(f"{member.name}: the archive lacks {member.linkname}, which it is a hard link to", "try again")
    path = os.path.join(top, member.name)
    if os.path.lexists(path):
        _make_way(path, member)
    if member.isdir():
        os.makedirs(path, 0o700, exist_ok=True)
        return
    tar.extraction_filter = lambda member, _: member  # newer versions of Python have a default filter
    tar.extract(member, into)


def _make_way(path: str, member: tarfile.TarInfo) -> None:
    """Remove what is at `path` and is not a directory, so that nothing is written through a link or into a device.

    Raises SkiffError for a directory in the place of something else, and the reverse.
    """
    is_directory = os.path.isdir(path) and not os.path.islink(path)
    if is_directory and not member.isdir():
        raise SkiffError(f"{path}: cannot overwrite a directory with a file", "move it away, or name another place")
    if member.isdir() and not is_directory:
        raise SkiffError(f"{path}: cannot overwrite a file with a directory", "move it away, or name another place")
    if not is_directory:
        os.unlink(path)


def _followed(client: Client, id: str, path: str) -> tuple[str, PathStat | None]:
    """Return where `path` in a container leads to and what is there: what is copied to a link goes where it leads."""
    found = client.archive_stat(id, path)
    if found and found.link_target:
        path = os.path.join(os.path.dirname(path), found.link_target)
        found = client.archive_stat(id, path)
    return path, found


def _is_folder(client: Client, id: str, path: str) -> bool:
    return client.archive_stat(id, path.rstrip("/") + "/.") is not None


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while data := file.read(CHUNK_BYTES):
        yield data
