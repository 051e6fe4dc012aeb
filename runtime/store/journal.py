"""An append-only file of documents by key, for data that may be lost without harm: the build cache."""

from __future__ import annotations

import json
import os
from pathlib import Path

from runtime.store.record import Document, append

WORTH_COMPACTING = 1000
"""The file is compacted at the start if it has at least this many superseded lines."""


class Journal:
    """The documents in the file `path`. Each line, [key, document], sets one or (null) deletes it; bad lines are skipped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._documents: dict[str, Document] = {}

    def load(self, *, compacts: bool = True) -> None:
        """Read the file; with `compacts`, rewrite it if most of its lines are superseded."""
        try:
            lines = self._path.read_bytes().splitlines()
        except OSError:
            return
        for line in lines:
            try:
                key, document = json.loads(line)
                if not isinstance(key, str):
                    continue
                if document is None:
                    self._documents.pop(key, None)
                else:
                    self._documents[key] = dict(document)
            except (ValueError, TypeError, RecursionError):
                continue
        if compacts and len(lines) > WORTH_COMPACTING + 2 * len(self._documents):
            part = self._path.with_name(f".new-{self._path.name}")
            part.unlink(missing_ok=True)
            for key, document in self._documents.items():
                append(part, _line(key, document))
            os.replace(part, self._path)

    def get(self, key: str) -> Document | None:
        """Return the document of `key`, or None; do not modify it."""
        return self._documents.get(key)

    def items(self) -> list[tuple[str, Document]]:
        """Return all (key, document), sorted by key."""
        return sorted(self._documents.items())

    def put(self, key: str, document: Document) -> None:
        """Store `document` under `key`. Raises OSError."""
        append(self._path, _line(key, document))
        self._documents[key] = document

    def delete(self, key: str) -> bool:
        """Delete `key`; return whether it existed. Raises OSError."""
        if key not in self._documents:
            return False
        append(self._path, _line(key, None))
        del self._documents[key]
        return True


def _line(key: str, document: Document | None) -> str:
    return json.dumps([key, document], separators=(",", ":"))
