"""Documents by key in one file that is only added to: for what may be lost without harm, as the build cache."""

from __future__ import annotations

import json
import os
from pathlib import Path

from runtime.store.record import Document, append

WORTH_COMPACTING = 1000
"""So many lines more than there are documents are dropped at the next start."""


class Journal:
    """The documents of the file at `path`: a line each that sets or (null) removes one. Lines that can't be read are skipped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._documents: dict[str, Document] = {}

    def load(self, *, compacts: bool = True) -> None:
        """Read the file; with `compacts`, it is written again when most of it no longer counts."""
        try:
            lines = self._path.read_bytes().splitlines()
        except OSError:
            return
        for line in lines:
            try:
                key, document = json.loads(line)
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
        """Return the document of `key`, or None; it is not to be changed."""
        return self._documents.get(key)

    def items(self) -> list[tuple[str, Document]]:
        """Return all keys with their documents, in the order of the keys."""
        return sorted(self._documents.items())

    def put(self, key: str, document: Document) -> None:
        """Keep `document` under `key`. Raises OSError."""
        append(self._path, _line(key, document))
        self._documents[key] = document

    def delete(self, key: str) -> bool:
        """Forget `key`; return whether it was there. Raises OSError."""
        if key not in self._documents:
            return False
        append(self._path, _line(key, None))
        del self._documents[key]
        return True


def _line(key: str, document: Document | None) -> str:
    return json.dumps([key, document], separators=(",", ":"))
