"""The documents of one kind of object, in memory and in records on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from runtime.errors import ConflictError
from runtime.store import record
from runtime.store.layout import Layout
from runtime.store.problems import Problem
from runtime.store.record import Document
from runtime.store.shapes import SHAPES, STATE, fitting

if TYPE_CHECKING:
    from runtime.store.store import Store

T = TypeVar("T")
NOT_OURS = frozenset({"lost+found"})
"""Directory entries that are not objects."""
AS_STORED = ("config", "host")
"""Members of documents that are clients' and images' documents, in which a null has a meaning."""


class Collection:
    """Documents by ID and, if the kind has names, by unique name."""

    def __init__(self, store: Store, layout: Layout) -> None:
        self._store = store
        self._layout = layout
        self._texts: dict[str, str] = {}
        self._states: dict[str, str] = {}
        self._ids: dict[str, str] = {}
        self._without_record: set[str] = set()

    # --- loading

    def load(self) -> None:
        """Read all records; those that can't be read are reported as problems, and left in place."""
        layout = self._layout
        try:
            entries = sorted(os.scandir(layout.folder), key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        for entry in entries:
            if entry.name.startswith(".") or entry.name in NOT_OURS:
                continue
            path = Path(entry.path)
            if layout.record:
                # a volume may have been moved to another disk and replaced by a link
                if not entry.is_dir(follow_symlinks=layout.kind == "volume"):
                    self._note(path, f"is not a directory of a {layout.kind}")
                    continue
            elif not entry.name.endswith(".json"):
                if not entry.name.endswith(record.OLD):
                    self._note(path, f"is not a record of a {layout.kind}")
                continue
            self._load_one(layout.id_of(entry.name), path)

    def _load_one(self, id: str, place: Path) -> None:
        layout = self._layout
        path = layout.path(id)
        found = record.read(path)
        document = found.document
        if document is None and layout.kind == "volume" and (place / "_data").is_dir():
            # a volume with data exists even without its record, which has only labels and options
            document = {"name": id, "created": _created(place), "labels": {}, "options": {}}
            cure = "the volume is used with its data, without labels and options"
            self._store.problems.append(Problem(path, found.damage or "is missing", cure))
            self._without_record.add(id)
        if document is None:
            self._note(place if layout.record else path, found.damage or f"has no {layout.record}", found.is_from_newer)
            return
        document, misfit = self._fitted(document, SHAPES.get(layout.kind, {}))
        if misfit:
            self._note(place, misfit)
            return
        if layout.kind != "volume" and document.get("id", id) != id:
            self._note(place, f"is a copy of the {layout.kind} {document['id']}")
            return
        name = document.get("name") if layout.is_named else None
        if name is not None and self._ids.get(name, id) != id:
            self._note(place, f"has the same name {name!r} as the {layout.kind} {self._ids[name]}")
            return
        self._note_loss(path, found)
        self._texts[id] = json.dumps(document, separators=(",", ":"))
        if name is not None:
            self._ids[name] = id
        if layout.apart:
            self._load_state(id, layout.state_path(id))

    def _fitted(self, document: Document, shape: Mapping[str, Any]) -> tuple[Document, str]:
        """Return `document` without nulls, and why it does not have the `shape`, or ""."""
        found, reason = fitting(document, shape)
        if reason:
            return document, f"is not a valid record of a {self._layout.kind}: {reason}"
        return {**found, **{key: document[key] for key in AS_STORED if key in found}}, ""

    def _note_loss(self, path: Path, found: record.Reading) -> None:
        if found.lost_bytes:
            what = f"its last {found.lost_bytes} bytes can't be read"
            self._store.problems.append(Problem(path, what, "the previous version is used"))

    def _load_state(self, id: str, path: Path) -> None:
        found = record.read(path)
        document, misfit = self._fitted(found.document or {}, STATE)
        if damage := found.damage or misfit:
            self._states[id] = json.dumps({"state": None})
            self._store.problems.append(
                Problem(path, damage, f"the {self._layout.kind} is used; its last state is not known")
            )
        elif found.document is not None:
            self._note_loss(path, found)
            self._states[id] = json.dumps(document, separators=(",", ":"))

    def _note(self, path: Path, what: str, is_from_newer: bool = False) -> None:
        if is_from_newer:
            self._store.problems.append(Problem(path, what, "use the newer version of Skiff that wrote it"))
        else:
            self._store.problems.append(Problem.removable(path, what))

    def parsed(self, parse: Callable[[Document], T]) -> dict[str, T]:
        """Return ID → `parse(document)`; documents for which that fails are reported as problems and omitted."""
        found: dict[str, T] = {}
        for id, document in self.items():
            try:
                found[id] = parse(document)
            except (KeyError, TypeError, ValueError, AttributeError):
                self._forget(id)
                self._note(self.place(id), f"is not a valid record of a {self._layout.kind}")
        return found

    # --- reading

    def get(self, id: str) -> Document | None:
        """Return the document of `id`, or None."""
        text = self._texts.get(id)
        if text is None:
            return None
        document: Document = json.loads(text)
        if id in self._states:
            document |= json.loads(self._states[id])
        return document

    def __contains__(self, id: str) -> bool:
        return id in self._texts

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._texts))

    def by_name(self, name: str) -> tuple[str, Document] | None:
        """Return (ID, document) with the name `name`, or None."""
        id = self._ids.get(name)
        document = self.get(id) if id is not None else None
        return None if id is None or document is None else (id, document)

    def items(self) -> list[tuple[str, Document]]:
        """Return all (ID, document), sorted by ID."""
        return [(id, document) for id in self if (document := self.get(id)) is not None]

    def with_prefix(self, prefix: str) -> list[str]:
        """Return the IDs that start with `prefix`, sorted."""
        return [id for id in self if id.startswith(prefix)]

    # --- writing

    def put(self, id: str, document: Document, *, is_confirmed: bool = True) -> None:
        """Store `document` under `id`; after `Store.flush` it survives a power cut.

        Without `is_confirmed` it is not synced: after a power cut it is complete, or removed at the next start. Raises
        ConflictError if another document has its name, OSError if writing fails.
        """
        name = document.get("name") if self._layout.is_named else None
        if name is not None and self._ids.get(name, id) != id:
            raise ConflictError(f"the {self._layout.kind} name {name!r} is in use")
        state = {key: document[key] for key in self._layout.apart if key in document}
        main = {key: value for key, value in document.items() if key not in state} if state else document
        text = json.dumps(main, separators=(",", ":"))
        is_new = id not in self._texts
        if text != self._texts.get(id):
            self._write(self._layout.path(id), record.encode_text(text), is_new, is_confirmed)
            self._forget_name(id)
            self._texts[id] = text
        if name is not None:
            self._ids[name] = id
        if state and (text := json.dumps(state, separators=(",", ":"))) != self._states.get(id):
            # without a mark: the first record determines whether the object exists
            self._write(self._layout.state_path(id), record.encode_text(text), False, is_confirmed)
            if id not in self._states and is_confirmed:
                self._store.mark_directory(self._layout.folder / id)
            self._states[id] = text

    def _write(self, path: Path, line: str, is_new: bool, is_confirmed: bool) -> None:
        is_durable = self._layout.is_durable and is_confirmed
        if is_new and self._layout.is_durable and not is_confirmed:
            record.mark_of(path).touch(0o600)
        try:
            self._store.append(path, line, is_new=is_new, is_durable=is_durable)
        except FileNotFoundError:
            if self._layout.is_durable:
                raise
            # the run directory is emptied at each boot
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._store.append(path, line, is_new=is_new, is_durable=is_durable)

    def place(self, id: str) -> Path:
        """Return the directory of the object `id`, or its record if it has none."""
        path = self._layout.path(id)
        return path.parent if self._layout.record else path

    def has_record(self, id: str) -> bool:
        """Whether the document of `id` was read from its record: a volume's directory is a volume without one, too."""
        return id not in self._without_record

    def has_place(self, id: str) -> bool:
        """Whether the directory for the record of `id` exists."""
        return self._layout.path(id).parent.is_dir()

    def write_again(self, id: str) -> None:
        """Write the record of `id` again, which is missing or damaged on disk."""
        document = self.get(id)
        if document is None:
            return
        text, state = self._texts.pop(id), self._states.pop(id, None)
        try:
            self.put(id, document)
        except BaseException:
            self._texts[id] = text
            if state is not None:
                self._states[id] = state
            raise

    def delete(self, id: str) -> bool:
        """Delete the document and its record; return whether it existed.

        If the object has a directory, the caller has moved that into the trash before.
        """
        if id not in self._texts:
            return False
        self._forget(id)
        if self._layout.record:
            self._store.mark_directory(self._layout.folder)
        else:
            self._store.remove(self._layout.path(id), is_durable=self._layout.is_durable)
        return True

    def _forget(self, id: str) -> None:
        self._forget_name(id)
        self._texts.pop(id, None)
        self._states.pop(id, None)

    def _forget_name(self, id: str) -> None:
        if self._layout.is_named and (text := self._texts.get(id)) is not None:
            self._ids.pop(json.loads(text).get("name"), None)


def _created(place: Path) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(place.stat().st_mtime, UTC).isoformat().replace("+00:00", "Z")
