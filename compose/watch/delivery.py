"""Copies files into containers; what no longer exists here is removed there (docker compose calls it tar sync)."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from typing import IO, cast

from compose.execute.build_context import Chunks
from runtime.client import Client
from runtime.errors import SkiffError

CHUNK_BYTES = 1 << 20
REMOVED_AT_ONCE = 500
"""Paths of one command: its arguments have a limit."""


def deliver(client: Client, id: str, paths: Mapping[str, str], *, is_running: bool) -> bool:
    """Copy `paths` (path in container `id` → path here) into the container; what is gone here is removed there.

    Files keep their mode and time, and belong to the container's user. Returns False if something could not be removed
    because the container does not run: Docker's API can't, our own engine can. Raises SkiffError.
    """
    gone = [where for where, path in paths.items() if _is_text(where) and not os.path.lexists(path)]
    kept = {where: path for where, path in paths.items() if os.path.lexists(path)}
    batches = [gone[begin : begin + REMOVED_AT_ONCE] for begin in range(0, len(gone), REMOVED_AT_ONCE)]
    if all(client.remove_files(id, batch) for batch in batches):
        gone = []
    elif is_running:
        try:
            for batch in batches:
                _remove(client, id, batch)
        except SkiffError:
            # it may have exited since it was listed
            is_running = bool(client.container(id)["State"]["Running"])
            if is_running:
                raise
    if kept:
        client.archive_put(id, "/", archive(kept), copyUIDGID=1)
    return is_running or not gone


def _is_text(path: str) -> bool:
    """Whether the engine's API can express the path: JSON strings are Unicode."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _remove(client: Client, id: str, paths: list[str]) -> None:
    # as root, like the engine when it writes: the container's own user may lack access to a folder
    command = ["rm", "-rf", "--", *paths]
    made = client.exec_create(id, {"Cmd": command, "User": "0", "AttachStdout": True, "AttachStderr": True})
    with client.exec_start(made) as stream:
        said = b"".join(data for _, data in stream.frames()).decode(errors="replace").strip()
    code = client.exec_inspect(made)["ExitCode"]
    if code:
        raise SkiffError(
            f"can't remove {', '.join(paths[:3])}{' …' if len(paths) > 3 else ''}: {said or f'rm exited with {code}'}",
            "the image needs an `rm` for that; a rebuild recreates the container",
        )


def archive(paths: Mapping[str, str]) -> Iterator[bytes]:
    """Yield a tar stream of `paths` (absolute path in the stream → path here), without files removed while it is written.

    Raises SkiffError for what can't be read.
    """
    out = Chunks()
    with tarfile.open(fileobj=cast(IO[bytes], out), mode="w|", format=tarfile.PAX_FORMAT) as tar:
        # folders before what is in them
        for where, path in sorted(paths.items()):
            try:
                yield from _entry(tar, out, where.lstrip("/"), path)
            except FileNotFoundError:
                continue  # removed just now: that is an event of its own
            except OSError as error:
                raise SkiffError(
                    f"{path}: {error.strerror}", "let it be read, or have develop.watch ignore it"
                ) from error
    yield out.taken()


def _entry(tar: tarfile.TarFile, out: Chunks, name: str, path: str) -> Iterator[bytes]:
    found = os.lstat(path)
    member = tarfile.TarInfo(name)
    member.mode = stat.S_IMODE(found.st_mode)
    # with its fraction: programs that compare times notice a file that is saved twice in a second
    member.mtime = found.st_mtime
    if stat.S_ISLNK(found.st_mode):
        member.type, member.linkname = tarfile.SYMTYPE, os.readlink(path)
        tar.addfile(member)
    elif stat.S_ISDIR(found.st_mode):
        member.type = tarfile.DIRTYPE
        tar.addfile(member)
    elif stat.S_ISREG(found.st_mode):
        with open(path, "rb") as file:
            if found.st_size <= CHUNK_BYTES:
                # read first: the file may grow or shrink while it is read
                data = file.read()
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
            else:
                member.size = found.st_size
                tar.addfile(member)
                yield from _content(tar, out, file, member.size)
    if out.size > CHUNK_BYTES:
        yield out.taken()


def _content(tar: tarfile.TarFile, out: Chunks, file: IO[bytes], size: int) -> Iterator[bytes]:
    """Write `size` bytes of `file` in pieces, padded to a whole block."""
    stream = cast(IO[bytes], tar.fileobj)
    left = size
    while left:
        # a file that got shorter is filled up with zeros: the archive stays valid, and the change is an event of its own
        data = file.read(min(left, CHUNK_BYTES)) or bytes(min(left, CHUNK_BYTES))
        left -= len(data)
        stream.write(data)
        yield out.taken()
    stream.write(bytes(-size % tarfile.BLOCKSIZE))
