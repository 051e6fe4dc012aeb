"""Directories that travel between a build's client and the engine: only what changed since the last time.

The client lists every file (STAT, in the order of a walk; one without a file ends that). The engine asks for the content
of those that it lacks (REQ, with the file's number), which comes in pieces (DATA, an empty one at its end), and says when
it has everything (FIN), which the client repeats. (The wire format is that of fsutil, as buildx uses it.)
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import anyio.to_thread

from runtime.buildkit.rpc import UNKNOWN, ClientCall, RpcError, calling
from runtime.buildkit.schema import message
from runtime.buildkit.sessions import Session

STAT, REQUEST, DATA, FIN, ERROR = range(5)
PATH = "/moby.filesync.v1.FileSync/DiffCopy"
PACKET = "fsutil.types.Packet"
# Go's os.FileMode
DIRECTORY, SYMLINK, DEVICE, FIFO, SOCKET = 1 << 31, 1 << 27, 1 << 26, 1 << 25, 1 << 24
SETUID, SETGID, CHARACTER, STICKY = 1 << 23, 1 << 22, 1 << 21, 1 << 20
MOST_ENTRIES = 2_000_000


async def receive_directory(
    session: Session,
    name: str,
    directory: Path,
    *,
    includes: Sequence[str] = (),
    excludes: Sequence[str] = (),
    follows: Sequence[str] = (),
) -> int:
    """Make `directory` what the client's directory `name` is; what it has already stays. Return the bytes that came.

    `includes`, `excludes` are patterns of .dockerignore, `follows` paths whose links are followed. Raises RpcError.
    """
    metadata = [("dir-name", name)]
    for key, values in (("include-patterns", includes), ("exclude-patterns", excludes), ("followpaths", follows)):
        metadata += _encoded(key, values)
    if not session.serves(PATH):
        raise RpcError(UNKNOWN, f"the build's client does not serve the directory {name!r}")
    async with calling(session.connection, PATH, metadata) as call:
        return await _Receiver(call, directory).run()


def _encoded(key: str, values: Sequence[str]) -> list[tuple[str, str]]:
    """Return patterns as headers, which are of ASCII."""
    if all(value.isascii() and value.isprintable() for value in values):
        return [(key, value) for value in values]
    return [(f"{key}-encoded", "1"), *((key, quote_plus(value)) for value in values)]


class _Receiver:
    def __init__(self, call: ClientCall, directory: Path) -> None:
        self._call = call
        self._root = directory
        self._packet = message(PACKET)
        self._entries: list[Any] = []
        self._open: dict[int, int] = {}
        self._bytes = 0

    async def run(self) -> int:
        await self._take_entries()
        wanted = await anyio.to_thread.run_sync(self._arrange)
        try:
            for number in wanted:
                await self._call.send(self._packet(type=REQUEST, ID=number))
            waiting = set(wanted)
            while waiting:
                packet = await self._next()
                if packet.type != DATA:
                    continue
                if packet.ID not in waiting:
                    raise RpcError(UNKNOWN, "the client sent a file that it was not asked for")
                self._bytes += len(packet.data)
                if packet.data:
                    os.write(self._open[packet.ID], packet.data)
                else:
                    waiting.discard(packet.ID)
                    self._finish(packet.ID)
        finally:
            for descriptor in self._open.values():
                os.close(descriptor)
        await anyio.to_thread.run_sync(self._complete)
        await self._call.send(self._packet(type=FIN))
        while (packet := await self._call.receive(PACKET)) is not None and packet.type != FIN:
            pass
        await self._call.end()
        return self._bytes

    async def _next(self) -> Any:
        packet = await self._call.receive(PACKET)
        if packet is None:
            raise RpcError(UNKNOWN, "the client ended a directory before it was complete")
        if packet.type == ERROR:
            raise RpcError(UNKNOWN, f"the client can't read the directory: {packet.data.decode(errors='replace')}")
        return packet

    async def _take_entries(self) -> None:
        while True:
            packet = await self._next()
            if packet.type != STAT:
                continue
            if not packet.HasField("stat"):
                return
            self._entries.append(packet.stat)
            if len(self._entries) > MOST_ENTRIES:
                raise RpcError(UNKNOWN, f"the directory has more than {MOST_ENTRIES:,} entries")

    def _place(self, path: str) -> str:
        parts = path.split("/")
        if path.startswith("/") or ".." in parts or "" in parts or "\0" in path:
            raise RpcError(UNKNOWN, f"the client sent a path that leaves its directory: {path!r}")
        return os.path.join(self._root, path)

    def _arrange(self) -> list[int]:
        """Make directories and links, remove what is gone; return the files whose content lacks.

        The entries come parents first, and only what this makes is a parent: no link leads out. Blocking.
        """
        names = {self._place(one.path): one for one in self._entries}
        self._remove_others(names)
        wanted = []
        folders = {""}
        for number, one in enumerate(self._entries):
            place = self._place(one.path)
            if one.path.rpartition("/")[0] not in folders:
                raise RpcError(UNKNOWN, f"the client sent a path whose directory it did not: {one.path!r}")
            if one.mode & DIRECTORY:
                folders.add(one.path)
            found = _lstat(place)
            if one.mode & DIRECTORY:
                if found is None:
                    os.mkdir(place)
            elif one.mode & SYMLINK:
                if found is None or os.readlink(place) != one.linkname:
                    _unlink(place)
                    os.symlink(one.linkname, place)
            elif one.linkname:
                _unlink(place)
            elif one.mode & (DEVICE | FIFO | SOCKET):
                if one.mode & FIFO and found is None:
                    os.mkfifo(place)
            elif found is None or (found.st_size, found.st_mtime_ns) != (one.size, one.modTime):
                _unlink(place)
                if one.size:
                    wanted.append(number)
                    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
                    os.close(os.open(place, flags, 0o600))
                else:
                    os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        self._open = _OnDemand(self, wanted)
        return wanted

    def _remove_others(self, names: dict[str, Any]) -> None:
        for base, folders, files in os.walk(self._root):
            for entry in [*folders, *files]:
                path = os.path.join(base, entry)
                wanted = names.get(path)
                if wanted is not None and stat.S_IFMT(os.lstat(path).st_mode) == _kind(wanted.mode):
                    continue
                if os.path.isdir(path) and not os.path.islink(path):
                    shutil.rmtree(path)
                    folders.remove(entry)
                else:
                    os.unlink(path)

    def _finish(self, number: int) -> None:
        os.close(self._open.pop(number))

    def _complete(self) -> None:
        """Make hard links, and give everything its mode and times. Blocking."""
        for one in self._entries:
            if one.linkname and not one.mode & SYMLINK:
                os.link(self._place(one.linkname), self._place(one.path), follow_symlinks=False)
        for one in reversed(self._entries):
            place = self._place(one.path)
            found = _lstat(place)
            if found is None:
                continue
            times = (one.modTime, one.modTime)
            if one.mode & SYMLINK:
                os.utime(place, ns=times, follow_symlinks=False)
                continue
            mode = _permissions(one.mode)
            if stat.S_IMODE(found.st_mode) != mode:
                os.chmod(place, mode)
            if found.st_mtime_ns != one.modTime:
                os.utime(place, ns=times)


class _OnDemand(dict[int, int]):
    """Descriptors of files, opened when their first bytes come."""

    def __init__(self, receiver: _Receiver, wanted: Sequence[int]) -> None:
        super().__init__()
        self._receiver = receiver
        self._wanted = frozenset(wanted)

    def __missing__(self, number: int) -> int:
        place = self._receiver._place(self._receiver._entries[number].path)
        self[number] = os.open(place, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        return self[number]


def _lstat(path: str) -> os.stat_result | None:
    with suppress(FileNotFoundError):
        return os.lstat(path)
    return None


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _kind(mode: int) -> int:
    for bit, kind in ((DIRECTORY, stat.S_IFDIR), (SYMLINK, stat.S_IFLNK), (FIFO, stat.S_IFIFO)):
        if mode & bit:
            return kind
    return stat.S_IFREG


def _permissions(mode: int) -> int:
    more = ((SETUID, stat.S_ISUID), (SETGID, stat.S_ISGID), (STICKY, stat.S_ISVTX))
    return mode & 0o777 | sum(ours for bit, ours in more if mode & bit)
