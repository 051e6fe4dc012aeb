"""Files into containers: what is there here is written there, what is not is removed (as docker compose's tar sync)."""

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
    """Make `paths` (here, by where in container `id`) there what they are here; False: what went has yet to be removed.

    Files get the mode and time they have here, and belong to the user whom the container runs as. Raises SkiffError.
    """
    gone = [where for where, path in paths.items() if _is_text(where) and not os.path.lexists(path)]
    kept = {where: path for where, path in paths.items() if os.path.lexists(path)}
    if gone and is_running:
        for begin in range(0, len(gone), REMOVED_AT_ONCE):
            _remove(client, id, gone[begin : begin + REMOVED_AT_ONCE])
    if kept:
        client.archive_put(id, "/", archive(kept), copyUIDGID=1)
    return is_running or not gone


def _is_text(path: str) -> bool:
    """Whether the engine's API has a way to write the path: JSON knows no bytes that are not UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _remove(client: Client, id: str, paths: list[str]) -> None:
    # as root, as whom the engine writes: the container's own user may not be let into a folder
    command = ["rm", "-rf", "--", *paths]
    body = {"Cmd": command, "User": "0", "AttachStdout": True, "AttachStderr": True}
    made = client.exec_create(id, body)
    with client.exec_start(made) as stream:
        said = b"".join(data for _, data in stream.frames()).decode(errors="replace").strip()
    code = client.exec_inspect(made)["ExitCode"]
    if code:
        raise SkiffError(
            f"can't remove {', '.join(paths[:3])}{' …' if len(paths) > 3 else ''}: {said or f'rm exited with {code}'}",
            "the image needs an `rm` for that; a rebuild makes the container anew",
        )


def archive(paths: Mapping[str, str]) -> Iterator[bytes]:
    """Yield a tar stream of `paths` (here, by their absolute names in it); what vanishes meanwhile is left out.

    Raises SkiffError for what can't be read.
    """
    out = Chunks()
    with tarfile.open(fileobj=cast(IO[bytes], out), mode="w|", format=tarfile.PAX_FORMAT) as tar:
        # folders before what is in them
        for where, path in sorted(paths.items()):
            try:
                yield from _entry(tar, out, where.lstrip("/"), path)
            except FileNotFoundError:
                continue  # its event is on the way
            except OSError as error:
                raise SkiffError(
                    f"{path}: {error.strerror}", "let it be read, or have develop.watch ignore it"
                ) from error
    yield out.taken()


def _entry(tar: tarfile.TarFile, out: Chunks, name: str, path: str) -> Iterator[bytes]:
    found = os.lstat(path)
    member = tarfile.TarInfo(name)
    member.mode = stat.S_IMODE(found.st_mode)
    # with its fraction: what looks for a later time sees a file that is saved twice in a second
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
                # read first: it may grow or shrink under our hands
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
    """Write `size` bytes of `file`, a piece at a time, and fill up the last block."""
    stream = cast(IO[bytes], tar.fileobj)
    left = size
    while left:
        # what was cut off is made up for with zeros: the archive goes on, and what changes the file is told
        data = file.read(min(left, CHUNK_BYTES)) or bytes(min(left, CHUNK_BYTES))
        left -= len(data)
        stream.write(data)
        yield out.taken()
    stream.write(bytes(-size % tarfile.BLOCKSIZE))
