"""Provenance: the file and place of every value, across merges, `extends`, `include` and short forms. Pure."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from compose.loading import values
from compose.loading.document import Path, YamlDocument
from compose.loading.model import SourceLocation

COMPARED = ("target", "source", "path", "subnet", "name", "published", "host_ip", "protocol", "driver", "action")
"""The keys that identify an entry of a list."""


class DocumentSource:
    """A document's part in the model: what it has at `origin` lies at `at` in the model.

    `content` gives the document with its variables replaced, as it was before anything was merged.
    """

    def __init__(self, document: YamlDocument, content: Callable[[], Any], at: Path = (), origin: Path = ()) -> None:
        self.document, self.at, self.origin = document, at, origin
        self._content, self._known = content, False
        self._tree: Any = None

    @property
    def tree(self) -> Any:
        """The content."""
        if not self._known:
            self._tree, self._known = self._content(), True
        return self._tree

    def nearest(self, path: Path) -> tuple[int, SourceLocation] | None:
        """Return how many steps of the model's `path` the document has, and the place of the last one."""
        if path[: len(self.at)] != self.at:
            return None
        steps, place = self.document.place((*self.origin, *path[len(self.at) :]))
        missing = len(self.origin) - len(self.at)
        return (steps - missing, place) if steps >= len(self.origin) else None

    def trace(self, path: Path, model: Any) -> SourceLocation | None:
        """Return where the document gives the model's value at `path`, in long or short form; None where it doesn't."""
        if path[: len(self.at)] != self.at:
            return None
        here, there, origin = self.tree, model, list(self.origin)
        for step in self.origin:
            here = here.get(step) if isinstance(here, dict) else None
        for step in self.at:
            there = _child(there, step)
        for number, step in enumerate(path[len(self.at) :], len(self.at)):
            attribute = str(path[2]) if number > 2 else ""
            following = _follow(here, there, step, attribute)
            if following is None:
                return None
            inner, is_whole = following
            origin += inner
            if is_whole:
                break
            for taken in inner:
                here = here[taken]
            there = _child(there, step)
        return self.document.place(tuple(origin))[1]


class Provenance:
    """The sources of a model, in the order in which they were merged."""

    def __init__(self) -> None:
        self._sources: dict[Path, list[tuple[int, DocumentSource]]] = {}
        self._number = 0
        self.others: dict[Path, SourceLocation] = {}
        """Values that come from an env_file or label_file, by path: what a Compose file says comes before them."""

    def add(self, source: DocumentSource) -> None:
        """Add a source that overrides those before it."""
        self._sources.setdefault(source.at, []).append((self._number, source))
        self._number += 1

    def nearest(self, path: Path, model: Any = None) -> SourceLocation | None:
        """Return the place of `path`, or of the nearest thing around it that a file has."""
        for end in range(len(path), 0, -1) if model is not None else ():
            if found := self.places(path[:end], model):
                return found[0]
        best: tuple[int, SourceLocation] | None = None
        for source in self._latest_first(path):
            placed = source.nearest(path)
            if placed is not None and (best is None or placed[0] > best[0]):
                best = placed
        return best[1] if best else None

    def places(self, path: Path, model: Any) -> tuple[SourceLocation, ...]:
        """Return every place that gives the model's value at `path`: the one that won first, then those it overrode."""
        found = [place for source in self._latest_first(path) if (place := source.trace(path, model)) is not None]
        if path in self.others:
            found.append(self.others[path])
        return tuple(dict.fromkeys(found))

    def _latest_first(self, path: Path) -> Iterator[DocumentSource]:
        """Yield the sources that may have a part of `path`."""
        numbered = [each for end in range(len(path) + 1) for each in self._sources.get(path[:end], ())]
        for _, source in sorted(numbered, key=lambda each: each[0], reverse=True):
            yield source


def leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every scalar and every empty container of a model."""
    items: Sequence[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = tuple(value.items())
    elif isinstance(value, list):
        items = tuple(enumerate(value))
    if not items:
        yield path
    for key, child in items:
        yield from leaves(child, (*path, key))


def _child(value: Any, step: str | int) -> Any:
    if isinstance(value, dict):
        return value.get(step)
    return value[step] if isinstance(value, list) and isinstance(step, int) and step < len(value) else None


def _follow(here: Any, there: Any, step: str | int, attribute: str) -> tuple[list[str | int], bool] | None:
    """Return the steps in a document for one step in the model, and whether what lies there is the whole answer."""
    if isinstance(here, dict):
        if step in here:
            return [step], False
        external = here.get("external")
        if step == "name" and isinstance(external, dict) and "name" in external:
            return ["external", "name"], True
        entry = _child(there, step) if isinstance(step, int) else None
        if isinstance(entry, str):
            name = entry.partition("=")[0]
            return ([name], True) if name in here else None
        return None
    if isinstance(here, list):
        if isinstance(step, str):
            named = [index for index, entry in enumerate(here) if _entry_name(entry) == step]
            return ([named[-1]], True) if named else None
        index = _matching(here, there, step, attribute)
        return None if index is None else ([index], not isinstance(here[index], dict | list))
    if here is None or (attribute in ("", "build") and step != "context"):
        return None  # a short form of `build` says nothing beyond the context
    return [], True


def _entry_name(entry: Any) -> str:
    return str(entry).partition("=")[0] if not isinstance(entry, dict) else ""


def _matching(here: list[Any], there: Any, step: int, attribute: str) -> int | None:
    if not isinstance(there, list):
        return step if step < len(here) else None  # no longer in the model
    entry = _child(there, step)
    if step < len(here) and _is_same(here[step], entry, attribute):
        return step
    for index in range(len(here) - 1, -1, -1):
        if _is_same(here[index], entry, attribute):
            return index
    return step if len(there) == len(here) and not isinstance(entry, dict) else None


def _is_same(given: Any, entry: Any, attribute: str) -> bool:
    """Return whether an entry of a list, as a file has it, is `entry` of the model."""
    if isinstance(given, dict):
        if not isinstance(entry, dict):
            return False
        shared = [key for key in COMPARED if given.get(key) is not None and entry.get(key) is not None]
        return bool(shared) and all(_is_like(given[key], entry[key]) for key in shared)
    if isinstance(given, list):
        return bool(given == entry)
    if isinstance(entry, dict):
        try:
            return _is_short_form(given, entry, attribute)
        except ValueError:
            return False
    text = values.text_of(given)
    return _is_like(text, entry) or (attribute == "extra_hosts" and text.replace(":", "=", 1) == entry)


def _is_short_form(given: Any, entry: dict[str, Any], attribute: str) -> bool:
    if attribute == "ports":
        shared = ("target", "published", "host_ip", "protocol")
        return any(all(port.get(key) == entry.get(key) for key in shared) for port in values.ports(given))
    if attribute == "volumes":
        return bool(values.mount(str(given))["target"] == entry.get("target"))
    if attribute == "devices":
        return bool(values.device(str(given))["target"] == entry.get("target"))
    return _is_like(given, entry.get("path") if attribute == "env_file" else entry.get("source"))


def _is_like(given: Any, entry: Any) -> bool:
    """Return whether two scalars are the same: as texts, or one as the absolute path of the other."""
    first, second = values.text_of(given), values.text_of(entry)
    if first == second:
        return True
    relative = os.path.normpath(first).lstrip("./") if first[:1] == "." else first
    return second[:1] == "/" and bool(relative) and second.endswith(f"/{relative}")
