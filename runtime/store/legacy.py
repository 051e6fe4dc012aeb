"""Imports the state of earlier versions, which had a SQLite database, to records."""

from __future__ import annotations

import json
import os
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from runtime.paths import Paths
from runtime.store import record
from runtime.store.layout import LAYER, layouts
from runtime.store.problems import Problem

if TYPE_CHECKING:
    from runtime.store.store import Store

KNOWN_VERSION = 1
DONE = ".imported"
"""Suffix of the database after the import."""


def import_database(store: Store, paths: Paths) -> None:
    """Write records for all objects in the state root's database, then rename it. Blocking.

    A database that can't be read is left in place and reported as a problem; objects with directories are found without it.
    """
    path = paths.database
    if not path.exists():
        return
    import sqlite3  # rarely needed

    try:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > KNOWN_VERSION:
                raise sqlite3.DatabaseError(f"its schema version {version} is newer than {KNOWN_VERSION}")
            _Import(store, paths, connection).run()
    except sqlite3.DatabaseError as error:
        what = f"the database of an earlier version can't be read ({error}); its information is not available"
        store.problems.append(Problem.removable(path, what))
        return
    store.flush_now()
    os.replace(path, path.with_name(path.name + DONE))
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(f"{path}{suffix}")


class _Import:
    def __init__(self, store: Store, paths: Paths, connection: Any) -> None:
        self._store = store
        self._paths = paths
        self._layouts = layouts(paths)
        self._connection = connection

    def run(self) -> None:
        for kind in ("container", "volume", "network", "endpoint"):
            for id, document in self._rows(kind):
                self._put(kind, id, document)
        references: dict[str, dict[str, float]] = {}
        for name, tag in self._rows("tag"):
            references.setdefault(tag["image"], {})[name] = tag.get("tagged_s") or 0
        for id, document in self._rows("image"):
            self._put("image", id, {**document, "references": references.get(id, {})})
        for id, document in self._rows("layer"):
            place = self._paths.layers / id.partition(":")[2]
            if place.is_dir() and not (place / LAYER).exists():
                self._store.append(place / LAYER, record.encode(document), is_new=True, is_durable=True)
        for key, document in self._rows("build_cache"):
            self._store.build_cache.put(key, document)

    def _rows(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        found = []
        for id, text in self._connection.execute(f"SELECT id, document FROM {kind} ORDER BY id"):
            with suppress(ValueError):  # only this object is lost
                found.append((id, json.loads(text)))
        return found

    def _put(self, kind: str, id: str, document: dict[str, Any]) -> None:
        layout = self._layouts[kind]
        path = layout.path(id)
        if (not layout.record or path.parent.is_dir()) and record.read(path).document is None:
            self._store.collection(kind).put(id, document)
