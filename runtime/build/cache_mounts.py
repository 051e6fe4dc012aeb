"""The directories of `RUN --mount=type=cache`: kept between builds, shared between steps as each asks for it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio.to_thread

from runtime.build.writer import Owner
from runtime.image.images import rfc3339
from runtime.image.transfers import KeyedLocks
from runtime.linux.ownership import chown
from runtime.paths import Paths
from runtime.trash import Trash

DIRECTORY = "cache-mounts"
"""Directory, in the state root, of all cache mounts."""
NOTE = ".name"
"""Suffix of the file next to each that has its name."""


@dataclass(frozen=True)
class KeptCache:
    """One that is kept: `name` is its ID and how it began, `last_used` RFC 3339."""

    id: str
    name: str
    size_bytes: int
    last_used: str
    is_in_use: bool


@dataclass(frozen=True)
class CacheMount:
    """What a step asks for: which cache, how it shares it, and how a new one begins.

    `fill` writes the first content into a new directory (given, with one next to it for its own use).
    """

    name: str
    sharing: str = "shared"
    mode: int = 0o755
    owner: Owner = field(default_factory=Owner)
    fill: Callable[[Path], None] | None = None


class CacheMounts:
    """The cache directories of one engine."""

    def __init__(self, paths: Paths, trash: Trash) -> None:
        self._parent = paths.root / DIRECTORY
        self._scratch = paths.tmp
        self._trash = trash
        self._locks = KeyedLocks()
        self._users: dict[str, int] = {}

    @asynccontextmanager
    async def used(self, wanted: CacheMount) -> AsyncIterator[Path]:
        """Give the directory of a cache until the block ends.

        `locked` waits until no other step that locks it uses it; `private` takes another one when it is in use.
        """
        if wanted.sharing == "locked":
            async with self._locks.alone(wanted.name):
                yield await self._made(wanted, wanted.name)
            return
        name = wanted.name
        if wanted.sharing == "private":
            number = 0
            while self._users.get(name):
                number += 1
                name = f"{wanted.name} {number}"
        self._users[name] = self._users.get(name, 0) + 1
        try:
            yield await self._made(wanted, name)
        finally:
            self._users[name] -= 1
            if not self._users[name]:
                del self._users[name]

    async def _made(self, wanted: CacheMount, name: str) -> Path:
        directory = self._parent / _directory_name(name)
        async with self._locks.alone(f"made {name}"):
            if not directory.exists():
                await anyio.to_thread.run_sync(self._make, wanted, directory)
        # whose it is, and by its time when it was used last
        directory.with_suffix(NOTE).write_text(name)
        return directory

    def _make(self, wanted: CacheMount, directory: Path) -> None:
        # made aside and renamed: what stands in its place is whole
        self._parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = self._scratch / f"cache-{directory.name}"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        if wanted.fill is not None:
            wanted.fill(part)
        chown(str(part), wanted.owner.uid, wanted.owner.gid)
        part.chmod(wanted.mode)
        os.rename(part, directory)

    async def kept(self) -> list[KeptCache]:
        """Return every cache that is kept, with the bytes of its files."""
        return await anyio.to_thread.run_sync(self._kept)

    def _kept(self) -> list[KeptCache]:
        used = {_directory_name(name) for name in (*self._users, *self._locks.held)}
        found = []
        for directory in self._parent.iterdir() if self._parent.is_dir() else ():
            if not directory.is_dir():
                continue
            note = directory.with_suffix(NOTE)
            try:
                name, moment = note.read_text(errors="replace"), note.stat().st_mtime
            except OSError:  # of an engine that wrote none
                name, moment = "", directory.stat().st_mtime
            size = sum(file.lstat().st_size for file in directory.rglob("*") if not file.is_dir())
            found.append(KeptCache(directory.name, name, size, rfc3339(moment), directory.name in used))
        return found

    async def remove(self, id: str) -> None:
        """Remove the cache of a `KeptCache.id`."""
        await anyio.to_thread.run_sync(self._remove, self._parent / id)

    def _remove(self, directory: Path) -> None:
        directory.with_suffix(NOTE).unlink(missing_ok=True)
        self._trash.throw(directory)


def _directory_name(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]
