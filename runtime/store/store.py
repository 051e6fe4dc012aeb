"""The state of one engine: what lies on disk, as collections in memory, and when it is safe from a power cut.

The disk is the truth: each container, volume, network and image has a record beside its data (`layout`). Whatever is in
memory is made from the records when an engine starts, so there is no index that could be lost, torn or older than they
are. A start deletes nothing that it does not know.

Who is told that something was done is told after `flush`, which brings every change since the last one to the disk
(fsync(2) of files, then of directories); calls that come while one is under way share the next.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread

from runtime.errors import InternalError
from runtime.linux.durability import sync_file, sync_filesystem
from runtime.paths import Paths
from runtime.store import record
from runtime.store.collection import Collection
from runtime.store.half_made import clear_half_made
from runtime.store.journal import Journal
from runtime.store.layout import layouts
from runtime.store.legacy import import_database
from runtime.store.problems import Problem
from runtime.store.record import FORMAT, mark_of
from runtime.store.reserve import Reserve
from runtime.trash import Trash

COMPACTED_AT_BYTES = 1 << 18
"""Size at which a record is written again with its last version alone."""


@dataclass
class _Changes:
    """What was changed since the last flush; `done` are files of no use after it."""

    files: set[str] = field(default_factory=set)
    directories: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    whole_filesystem: bool = False

    def __bool__(self) -> bool:
        return bool(self.files or self.directories or self.whole_filesystem)

    def take_back(self, other: _Changes) -> None:
        """Add what could not be written, to be tried again."""
        self.files |= other.files
        self.directories |= other.directories
        self.done |= other.done
        self.whole_filesystem |= other.whole_filesystem


class Store:
    """One engine's state. The engine that holds the root's lock is the only writer."""

    def __init__(self, paths: Paths) -> None:
        self.problems: list[Problem] = []
        self._paths = paths
        self._reserve = Reserve(paths.reserve)
        self._collections = {kind: Collection(self, layout) for kind, layout in layouts(paths).items()}
        self.build_cache = Journal(paths.build_cache)
        self._changes = _Changes()
        self._lock = anyio.Lock()

    @classmethod
    def open(cls, paths: Paths) -> Store:
        """Open the state of `paths.root`, made or brought forward as needed. Blocking.

        Raises InternalError when a newer Skiff wrote it.
        """
        store = cls(paths)
        paths.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        store._check_format()
        for layout in layouts(paths).values():
            layout.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        import_database(store, paths)
        for layout in layouts(paths).values():
            clear_half_made(layout, Trash(paths))
        store._load()
        store._reserve.fill()
        return store

    @classmethod
    def survey(cls, paths: Paths) -> Store:
        """Read the state of `paths.root` and change nothing: for `problems` and questions. Blocking."""
        store = cls(paths)
        store._load(changes_nothing=True)
        return store

    def _check_format(self) -> None:
        path = self._paths.format
        try:
            text = path.read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            path.touch(0o600)
            path.write_text(f"{FORMAT}\n")
            return
        if text.isdigit() and int(text) > FORMAT:
            raise InternalError(
                f"{path}: the state has format {text}, which is newer than this Skiff's ({FORMAT})",
                "upgrade skiff, or use another state directory with --root",
            )

    def _load(self, *, changes_nothing: bool = False) -> None:
        for collection in self._collections.values():
            collection.load()
        self.build_cache.load(compacts=not changes_nothing)

    def collection(self, kind: str) -> Collection:
        """Return the documents of one `kind` (`layout.layouts`)."""
        return self._collections[kind]

    # --- changes, for the collections

    def append(self, path: Path, line: str, *, is_new: bool, is_durable: bool) -> None:
        """Add a version to the record at `path`; one that `is_new` is marked until it is flushed. Raises OSError."""
        if is_new and is_durable:
            mark = mark_of(path)
            mark.touch(0o600)
            self._changes.done.add(str(mark))
            self._changes.directories |= {str(path.parent), str(path.parent.parent)}
        # what is new is refused when the disk is full: the reserve is for what ends and goes
        size = record.append(path, line) if is_new else self._with_reserve(path, line)
        if is_durable:
            self._changes.files.add(str(path))
            if size > COMPACTED_AT_BYTES:
                self._compact(path, line)

    def _with_reserve(self, path: Path, line: str) -> int:
        while True:
            try:
                return record.append(path, line)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not self._reserve.give():
                    raise

    def _compact(self, path: Path, line: str) -> None:
        """Begin the record again with its last version; the long one stays until that is on the disk."""
        before = path.with_name(path.name + record.OLD)
        os.replace(path, before)
        self._with_reserve(path, line)
        self._changes.done.add(str(before))
        self.mark_directory(path.parent)

    def remove(self, path: Path, *, is_durable: bool) -> None:
        """Remove the record at `path`."""
        for one in (path, path.with_name(path.name + record.OLD), mark_of(path)):
            with suppress(FileNotFoundError):
                os.unlink(one)
        if is_durable:
            self.mark_directory(path.parent)

    def mark_directory(self, path: Path) -> None:
        """Have the entries of the directory `path` flushed."""
        self._changes.directories.add(str(path))

    def mark_trees(self) -> None:
        """Have everything that was written to the root's file system flushed, as after files of images were copied."""
        self._changes.whole_filesystem = True

    # --- what is confirmed

    async def flush(self) -> None:
        """Return when all changes up to now would survive a power cut. Raises OSError when they can't be written."""
        if not self._changes and not self._lock.locked():
            return
        with anyio.CancelScope(shield=True):
            async with self._lock:
                changes = self._take()
                if not changes:
                    return
                try:
                    await anyio.to_thread.run_sync(self._sync, changes)
                except BaseException:
                    self._changes.take_back(changes)
                    raise

    def flush_now(self) -> None:
        """Do what `flush` does. Blocking; not beside a `flush`."""
        if changes := self._take():
            self._sync(changes)

    def _take(self) -> _Changes:
        changes, self._changes = self._changes, _Changes()
        return changes

    def _sync(self, changes: _Changes) -> None:
        if changes.whole_filesystem:
            sync_filesystem(self._paths.root)
        else:
            # files first: an entry that is on the disk has its bytes there
            for path in (*changes.files, *changes.directories):
                sync_file(path)
        for path in changes.done:
            with suppress(FileNotFoundError):
                os.unlink(path)

    def close(self) -> None:
        """Flush what is left. Blocking."""
        with suppress(OSError):
            self.flush_now()
