"""The documents of one kind: in memory for every question, in their records on disk for the next engine."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from runtime.errors import ConflictError
from runtime.store import record
from runtime.store.layout import Layout
from runtime.store.problems import Problem
from runtime.store.record import Document

if TYPE_CHECKING:
    from runtime.store.store import Store

T = TypeVar("T")
NOT_OURS = frozenset({"lost+found"})
"""Entries that a directory may have of its own."""


class Collection:
    """Documents by ID and, where the kind has names, by a name that no two of them share."""

    def __init__(self, store: Store, layout: Layout) -> None:
        self._store = store
        self._layout = layout
        self._texts: dict[str, str] = {}
        self._states: dict[str, str] = {}
        self._ids: dict[str, str] = {}

    # --- what is on disk

    def load(self) -> None:
        """Read every record; what can't be understood is noted as a problem, left in place and gone without."""
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
                # a volume may have been moved to another disk, with a link in its place
                if not entry.is_dir(follow_symlinks=layout.kind == "volume"):
                    self._note(path, f"is no directory of a {layout.kind}")
                    continue
            elif not entry.name.endswith(".json"):
                if not entry.name.endswith(record.OLD):
                    self._note(path, f"is no record of a {layout.kind}")
                continue
            self._load_one(layout.id_of(entry.name), path)

    def _load_one(self, id: str, place: Path) -> None:
        layout = self._layout
        path = layout.path(id)
        found = record.read(path)
        document = found.document
        if document is None and layout.kind == "volume" and (place / "_data").is_dir():
            # a volume is its directory: without its record, only labels and options are missing
            document = {"name": id, "created": _created(place), "labels": {}, "options": {}}
            cure = "the volume is there with its data, without its labels and options"
            self._store.problems.append(Problem(path, found.damage or "is missing", cure))
        if document is None:
            self._note(place if layout.record else path, found.damage or f"has no {layout.record}", found.is_from_newer)
            return
        if layout.kind != "volume" and document.get("id", id) != id:
            self._note(place, f"is a copy of the {layout.kind} {document['id']}")
            return
        name = document.get("name") if layout.is_named else None
        if name is not None and self._ids.get(name, id) != id:
            self._note(place, f"has the name {name!r}, which the {layout.kind} {self._ids[name]} has too")
            return
        self._note_loss(path, found)
        self._texts[id] = json.dumps(document, separators=(",", ":"))
        if name is not None:
            self._ids[name] = id
        if layout.apart:
            self._load_state(id, layout.state_path(id))

    def _note_loss(self, path: Path, found: record.Reading) -> None:
        if found.lost_bytes:
            what = f"its last {found.lost_bytes} bytes can't be read"
            self._store.problems.append(Problem(path, what, "the version before them counts"))

    def _load_state(self, id: str, path: Path) -> None:
        found = record.read(path)
        if found.document is not None:
            self._note_loss(path, found)
            self._states[id] = json.dumps(found.document, separators=(",", ":"))
        elif found.damage:
            self._states[id] = json.dumps({"state": None})
            self._store.problems.append(
                Problem(path, found.damage, f"the {self._layout.kind} is there; its last state is not known")
            )

    def _note(self, path: Path, what: str, is_from_newer: bool = False) -> None:
        if is_from_newer:
            self._store.problems.append(Problem(path, what, "use the newer Skiff, which understands it"))
        else:
            self._store.problems.append(Problem.removable(path, what))

    def parsed(self, parse: Callable[[Document], T]) -> dict[str, T]:
        """Return `parse` of each document by ID; one that it can't take is noted as a problem and left out."""
        found: dict[str, T] = {}
        for id, document in self.items():
            try:
                found[id] = parse(document)
            except (KeyError, TypeError, ValueError, AttributeError):
                self._forget(id)
                self._note(self.place(id), f"says nothing that a {self._layout.kind} is")
        return found

    # --- questions

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
        """Return the ID and document that hold `name`, or None."""
        id = self._ids.get(name)
        document = self.get(id) if id is not None else None
        return None if id is None or document is None else (id, document)

    def items(self) -> list[tuple[str, Document]]:
        """Return all IDs with their documents, in the order of the IDs."""
        return [(id, document) for id in self if (document := self.get(id)) is not None]

    def with_prefix(self, prefix: str) -> list[str]:
        """Return the IDs that begin with `prefix`, in order."""
        return [id for id in self if id.startswith(prefix)]

    # --- changes

    def put(self, id: str, document: Document, *, is_confirmed: bool = True) -> None:
        """Write `document` under `id`, in place of what stood there; it survives a power cut after `Store.flush`.

        One that is not `is_confirmed` need not survive: a power cut leaves the whole of it or, at the next start, nothing.
        Raises ConflictError when another document holds its name, OSError when it can't be written.
        """
        name = document.get("name") if self._layout.is_named else None
        if name is not None and self._ids.get(name, id) != id:
            raise ConflictError(f"the {self._layout.kind} name {name!r} is in use")
        state = {key: document[key] for key in self._layout.apart if key in document}
        main = {key: value for key, value in document.items() if key not in state} if state else document
        text = json.dumps(main, separators=(",", ":"))
        is_new = id not in self._texts
        if text != self._texts.get(id):
            self._write(self._layout.path(id), record.encode(main), is_new, is_confirmed)
            self._forget_name(id)
            self._texts[id] = text
        if name is not None:
            self._ids[name] = id
        if state and (text := json.dumps(state, separators=(",", ":"))) != self._states.get(id):
            # never marked: whether the object is there, its first record says
            self._write(self._layout.state_path(id), record.encode(state), False, is_confirmed)
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
            # a run directory is emptied at every boot
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._store.append(path, line, is_new=is_new, is_durable=is_durable)

    def place(self, id: str) -> Path:
        """Return where the object of `id` lies: its directory, or its record."""
        path = self._layout.path(id)
        return path.parent if self._layout.record else path

    def has_place(self, id: str) -> bool:
        """Whether the directory that the record of `id` belongs into is there."""
        return self._layout.path(id).parent.is_dir()

    def write_again(self, id: str) -> None:
        """Write the record of `id` once more: the one on disk is gone, or damaged."""
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
        """Forget `id` and remove its record; return whether there was one.

        The directory of an object that has one of its own is moved away by the caller, before.
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
