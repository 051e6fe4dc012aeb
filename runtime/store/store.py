"""The stored state of one engine: collections in memory, records on disk, and syncing.

The disk is the truth: each container, volume, network and image has a record next to its data (`layout`). Everything in
memory is built from the records when an engine starts, so there is no index that could be lost, damaged or stale.
A start never deletes files that it does not know.

An operation is confirmed to clients after `flush`, which syncs all changes since the last one (fsync(2) of files, then of
directories). Concurrent calls share the next flush.
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
"""The size at which a record is compacted to its last version."""


@dataclass
class _Changes:
    """Changes since the last flush; `done` are files to delete after it."""

    files: set[str] = field(default_factory=set)
    directories: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    whole_filesystem: bool = False

    def __bool__(self) -> bool:
        return bool(self.files or self.directories or self.whole_filesystem)

    def take_back(self, other: _Changes) -> None:
        """Add changes whose sync has failed, for the next flush."""
        self.files |= other.files
        self.directories |= other.directories
        self.done |= other.done
        self.whole_filesystem |= other.whole_filesystem


class Store:
    """The state of one engine, which holds the state root's lock and is the only writer."""

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
        """Open the state in `paths.root`; create or migrate it if necessary. Blocking.

        Raises InternalError if a newer version of Skiff wrote it.
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
        """Read the state in `paths.root` without changing anything. Blocking."""
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
                f"{path}: the state has format {text}, which is newer than that of this version of Skiff ({FORMAT})",
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
        """Append a version to the record at `path`; an `is_new` record has a mark until the flush. Raises OSError."""
        if is_new and is_durable:
            mark = mark_of(path)
            mark.touch(0o600)
            self._changes.done.add(str(mark))
            self._changes.directories |= {str(path.parent), str(path.parent.parent)}
        # the reserve is not used for new objects, only for stopping and removing
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
        """Start the record's file again with the last version; the old file is kept until the flush."""
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
        """Have the directory `path` synced by the next flush."""
        self._changes.directories.add(str(path))

    def mark_trees(self) -> None:
        """Have the whole filesystem synced by the next flush, as after unpacking an image."""
        self._changes.whole_filesystem = True

    # --- syncing

    async def flush(self) -> None:
        """Sync all changes up to now, so that they survive a power cut. Raises OSError."""
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
        """Like `flush`, but blocking; not while a `flush` is running."""
        if changes := self._take():
            self._sync(changes)

    def _take(self) -> _Changes:
        changes, self._changes = self._changes, _Changes()
        return changes

    def _sync(self, changes: _Changes) -> None:
        if changes.whole_filesystem:
            sync_filesystem(self._paths.root)
        else:
            # files before directories: an entry must not be synced before its content
            for path in (*changes.files, *changes.directories):
                sync_file(path)
        for path in changes.done:
            with suppress(FileNotFoundError):
                os.unlink(path)

    def close(self) -> None:
        """Flush the remaining changes. Blocking."""
        with suppress(OSError):
            self.flush_now()
