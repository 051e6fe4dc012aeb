"""`cp`: files and folders as tar streams, into containers and out of them (Docker Engine API, "archive")."""

from __future__ import annotations

import os
import tarfile
import tempfile
from collections.abc import Iterator
from typing import IO

from runtime.client import Client
from runtime.errors import NotFoundError, SkiffError

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
    if _is_folder(client, id, path):
        folder, name = path, "." if is_contents else os.path.basename(os.path.abspath(source))
    elif os.path.isdir(real) and not os.path.islink(real) and _exists(client, id, path):
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
    parent = os.path.dirname(os.path.abspath(destination))
    if not os.path.isdir(parent):
        raise SkiffError(f"{parent}: no such directory", "make it, or correct the path")
    if destination.endswith("/") and not os.path.isdir(destination):
        raise SkiffError(f"{destination}: no such directory", "make it, or leave the last slash out")
    with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as spool:
        for piece in client.archive_get(id, f"{path}/." if follow_link and _is_folder(client, id, path) else path):
            spool.write(piece)
        spool.seek(0)
        with tarfile.open(fileobj=spool) as tar:
            unpack(tar, path, destination)


def unpack(tar: tarfile.TarFile, path: str, destination: str) -> None:
    """Unpack an archive of the container's `path` at `destination`, as cp(1) would.

    Raises SkiffError for a member that would be written elsewhere: archives from containers are not trusted.
    """
    is_contents = path.endswith("/.")
    into = destination if os.path.isdir(destination) else os.path.dirname(os.path.abspath(destination))
    wanted = "" if os.path.isdir(destination) else os.path.basename(destination.rstrip("/"))
    for member in tar:
        first, slash, rest = member.name.removeprefix("./").partition("/")
        if is_contents and first in ("", "."):
            first = ""
        if is_contents and not wanted:
            member.name = "/".join(filter(None, (first, rest))) or "."
        else:
            member.name = (
                (wanted or first) + slash + rest if not is_contents else "/".join(filter(None, (wanted, first, rest)))
            )
        _extract(tar, member, into)


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, into: str) -> None:
    """Extract `member` into the directory `into`: not through links that lead out of it, without set-ID bits.

    Python's own filters do that too, from 3.11.4 on. Raises SkiffError.
    """
    top = os.path.realpath(into)
    member.name = member.name.lstrip("/")
    member.mode &= ~HIGH_MODE_BITS
    for name in (os.path.dirname(member.name), member.linkname if member.islnk() else ""):
        if os.path.commonpath([top, os.path.realpath(os.path.join(top, name))]) != top:
            raise SkiffError(f"{member.name}: leads out of {into}", "copy what it leads to by its own name")
    if os.path.basename(member.name) == "..":
        raise SkiffError(f"{member.name}: leads out of {into}", "copy what it leads to by its own name")
    tar.extraction_filter = lambda member, _: member  # newer versions of Python have a default filter
    tar.extract(member, into)


def _is_folder(client: Client, id: str, path: str) -> bool:
    try:
        next(iter(client.archive_get(id, (path.rstrip("/") or "") + "/.")), None)
    except NotFoundError:
        return False
    except SkiffError as error:
        if "not a directory" in str(error).lower():
            return False
        raise
    return True


def _exists(client: Client, id: str, path: str) -> bool:
    try:
        next(iter(client.archive_get(id, path)), None)
    except NotFoundError:
        return False
    return True


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while data := file.read(CHUNK_BYTES):
        yield data
