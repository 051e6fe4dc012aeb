"""Collections of JSON documents over one SQLite connection."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from runtime.errors import ConflictError, InternalError
from runtime.store.migrations import KINDS, MIGRATIONS

Document = dict[str, Any]
PAGE_BYTES = 4096
ROOM_BYTES = 1 << 21


class Store:
    """One engine's database.

    Calls are synchronous: a read or a write of one document takes some tens of microseconds. The engine is the only
    writer (it holds the run directory's lock), so a transaction waits for nobody.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._depth = 0

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open the database at `path`, made or migrated forward as needed.

        Write-ahead log with `synchronous=NORMAL`: a killed engine loses no transaction; a power cut may lose the last
        ones but never leaves half of one (SQLite, "Write-Ahead Logging").

        Raises InternalError when a newer Skiff wrote the database, or when it is not a database.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(f"PRAGMA wal_autocheckpoint={ROOM_BYTES // PAGE_BYTES // 2}")
            store = cls(connection)
            store._migrate(path)
            store._make_room()
        except sqlite3.DatabaseError as error:
            raise InternalError(
                f"{path}: {error}",
                "the engine's database can't be read; move it away to start with an empty one",
            ) from error
        return store

    def _migrate(self, path: Path) -> None:
        version: int = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise InternalError(
                f"{path}: schema version {version} is newer than this Skiff's ({len(MIGRATIONS)})",
                "upgrade skiff, or use another state directory with --root",
            )
        for number, statements in enumerate(MIGRATIONS[version:], version + 1):
            with self.transaction():
                for statement in statements:
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version={number}")

    def _make_room(self) -> None:
        """Keep room in the database and its log, so that writes go on when the disk is full.

        What is stopped and removed then is how room is made. A log that was written to its end is begun anew once half
        of it is filled, and pages of the database that were freed are used again (SQLite, "Write-Ahead Logging", "The
        Freelist"): both take no new blocks. Where there is none to be had any more, the store goes without.
        """
        with suppress(sqlite3.OperationalError):
            with self.transaction():
                self._connection.execute("CREATE TABLE room (bytes BLOB)")
                self._connection.execute(f"INSERT INTO room VALUES (zeroblob({ROOM_BYTES}))")
            self._connection.execute("DROP TABLE room")
            self._connection.execute("PRAGMA wal_checkpoint")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all writes inside take effect together or, when the block raises, not at all; inner blocks join."""
        if self._depth:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            return
        self._connection.execute("BEGIN IMMEDIATE")
        self._depth = 1
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        else:
            self._connection.execute("COMMIT")
        finally:
            self._depth = 0

    def collection(self, kind: str) -> Collection:
        """Return the documents of one `kind`, one of `migrations.KINDS`."""
        if kind not in KINDS:
            raise ValueError(f"no collection {kind!r}")
        return Collection(self._connection, kind)

    def close(self) -> None:
        """Close the database; its write-ahead log is folded in."""
        self._connection.close()


class Collection:
    """Documents of one kind, by ID, and by a name that no two of them share."""

    def __init__(self, connection: sqlite3.Connection, kind: str) -> None:
        self._connection = connection
        self._kind = kind

    def get(self, id: str) -> Document | None:
        """Return the document of `id`, or None."""
        row = self._connection.execute(f"SELECT document FROM {self._kind} WHERE id = ?", (id,)).fetchone()
        return None if row is None else json.loads(row[0])

    def by_name(self, name: str) -> tuple[str, Document] | None:
        """Return the ID and document that hold `name`, or None."""
        row = self._connection.execute(f"SELECT id, document FROM {self._kind} WHERE name = ?", (name,)).fetchone()
        return None if row is None else (row[0], json.loads(row[1]))

    def items(self) -> list[tuple[str, Document]]:
        """Return all IDs with their documents, in the order of the IDs."""
        rows = self._connection.execute(f"SELECT id, document FROM {self._kind} ORDER BY id")
        return [(id, json.loads(document)) for id, document in rows]

    def with_prefix(self, prefix: str) -> list[str]:
        """Return the IDs that begin with `prefix`, in order."""
        rows = self._connection.execute(
            f"SELECT id FROM {self._kind} WHERE id >= ? AND id < ? ORDER BY id", (prefix, prefix + "\U0010ffff")
        )
        return [row[0] for row in rows]

    def put(self, id: str, document: Document, name: str | None = None) -> None:
        """Write `document` under `id` and `name`, in place of what stood there.

        Raises ConflictError when another document holds `name`.
        """
        try:
            self._connection.execute(
                f"INSERT INTO {self._kind} (id, name, document) VALUES (?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET name = excluded.name, document = excluded.document",
                (id, name, json.dumps(document, separators=(",", ":"))),
            )
        except sqlite3.IntegrityError as error:
            raise ConflictError(f"the {self._kind} name {name!r} is in use") from error

    def delete(self, id: str) -> bool:
        """Remove the document of `id`; return whether there was one."""
        return self._connection.execute(f"DELETE FROM {self._kind} WHERE id = ?", (id,)).rowcount > 0
