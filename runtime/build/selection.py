"""What a COPY or ADD takes, and where each piece goes: decided once, then hashed and copied alike."""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from runtime.build.errors import DockerfileError, suggestion
from runtime.build.tree import Entry, Tree
from runtime.build.writer import Owner, xattrs_of
from runtime.dockerignore import Ignore, path_pattern

_WILDCARDS = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Item:
    """One file or directory to be written: where to, from what, and whether it is the top of a copied directory."""

    destination: str
    entry: Entry
    is_top: bool = False
    """The copied directory itself: one that is there already keeps its mode."""


@dataclass(frozen=True)
class Sources:
    """Where a COPY reads: a tree, with the rules that hide parts of it, and what to call it in messages."""

    tree: Tree
    ignore: Ignore = field(default_factory=Ignore)
    description: str = "the build context"

    def select(
        self,
        patterns: Iterable[str],
        destination: str,
        *,
        is_directory: bool,
        parents: bool = False,
        exclude: Iterable[str] = (),
    ) -> list[Item]:
        """Return what `patterns` select, each piece with its place below the absolute `destination`.

        `is_directory` says that the destination is one, so that files go into it. Raises DockerfileError (without a
        line) for a source that is missing, with the nearest name or the rule that hides it.
        """
        excluded = Ignore.parse("\n".join(exclude), "--exclude")
        items: list[Item] = []
        for pattern in patterns:
            for entry, path in self._matches(pattern):
                place = destination
                if parents:
                    place = posixpath.join(destination, _below_pivot(pattern, path))
                elif is_directory and not entry.is_directory:
                    place = posixpath.join(destination, posixpath.basename(path))
                if entry.is_directory:
                    items.append(Item(place, entry, is_top=True))
                    items.extend(self._below(entry, path, place, excluded))
                elif not excluded.excludes(posixpath.basename(path)):
                    items.append(Item(place, entry))
        return items

    def _matches(self, pattern: str) -> list[tuple[Entry, str]]:
        path = posixpath.normpath("/" + pattern.lstrip("/"))
        if _WILDCARDS.search(path):
            found = [(entry, name) for entry, name in self._glob(path) if self._is_seen(entry, name)]
        else:
            entry = self.tree.find(path)
            found = [(entry, path)] if entry is not None and self._is_seen(entry, path) else []
        if not found:
            raise self._not_found(pattern, path)
        return found

    def _glob(self, path: str) -> Iterator[tuple[Entry, str]]:
        """Match name by name, so that only directories on the way are read; `**` walks."""
        if "**" in path:
            expression = re.compile(path_pattern(path.lstrip("/")), re.DOTALL)
            for entry in self.tree.walk(self.tree.root):
                if expression.fullmatch(entry.path.lstrip("/")):
                    yield entry, entry.path
            return
        found = [(self.tree.root, "/")]
        for name in path.strip("/").split("/"):
            found = [match for parent in found for match in self._named(parent, name)]
        yield from found

    def _named(self, parent: tuple[Entry, str], name: str) -> Iterator[tuple[Entry, str]]:
        directory, path = parent
        if not directory.is_directory:
            return
        if not _WILDCARDS.search(name):
            entry = self.tree.find(posixpath.join(directory.path, name))
            if entry is not None:
                yield entry, posixpath.join(path, name)
            return
        expression = re.compile(path_pattern(name), re.DOTALL)
        for child in self.tree.children(directory):
            base = posixpath.basename(child.path)
            if expression.fullmatch(base):
                target = self.tree.find(child.path) if child.is_link else child
                yield target or child, posixpath.join(path, base)

    def _is_seen(self, entry: Entry, path: str) -> bool:
        relative = path.lstrip("/")
        if not relative or not self.ignore.excludes(relative):
            return True
        return entry.is_directory and self.ignore.has_exceptions and any(self._below(entry, path, "/", Ignore()))

    def _below(self, directory: Entry, path: str, place: str, excluded: Ignore, inner: str = "") -> Iterator[Item]:
        for child in self.tree.children(directory):
            base = posixpath.basename(child.path)
            relative = posixpath.join(inner, base)
            own = posixpath.join(path, base)
            hidden = self.ignore.excludes(own.lstrip("/")) or excluded.excludes(relative)
            can_return = self.ignore.has_exceptions or excluded.has_exceptions
            if hidden and not (child.is_directory and can_return):
                continue
            item = Item(posixpath.join(place, base), child)
            if not child.is_directory:
                yield item
                continue
            content = self._below(child, own, item.destination, excluded, relative)
            if hidden:
                first = next(content, None)
                if first is None:
                    continue
                yield item
                yield first
            else:
                yield item
            yield from content

    def _not_found(self, pattern: str, path: str) -> DockerfileError:
        relative = path.lstrip("/")
        rule = self.ignore.rule_for(relative)
        if rule is not None:
            return DockerfileError(
                f"{pattern!r} is excluded from {self.description} by {self.ignore.file}",
                hint=f'the pattern "{rule.pattern}" hides it; add the line "!{relative}" to {self.ignore.file}',
            )
        if _WILDCARDS.search(path):
            return DockerfileError(f"no source files match {pattern!r} in {self.description}")
        return DockerfileError(f"{pattern!r} not found in {self.description}", hint=self._nearest(path))

    def _nearest(self, path: str) -> str | None:
        parent = self.tree.find(posixpath.dirname(path))
        if parent is None or not parent.is_directory:
            missing = posixpath.dirname(path).lstrip("/")
            return f'there is no directory "{missing}" either'
        near = [posixpath.join(posixpath.dirname(path), posixpath.basename(e.path)) for e in self.tree.children(parent)]
        return suggestion(path.lstrip("/"), [name.lstrip("/") for name in near])


def _below_pivot(pattern: str, path: str) -> str:
    """Return the part of `path` that --parents keeps: all, or what follows a `/./` in the pattern."""
    front, pivot, _ = pattern.partition("/./")
    kept = path.lstrip("/")
    if pivot:
        depth = len([name for name in front.split("/") if name not in ("", ".")])
        kept = "/".join(kept.split("/")[depth:])
    return kept


def digest_items(
    items: Iterable[Item],
    placed_owner: Callable[[Entry], Owner],
    placed_mode: Callable[[Entry], int],
) -> str:
    """Return the SHA-256 of what the items will be in the image: names, kinds, owners, modes, content; no times."""
    total = hashlib.sha256()
    for item in sorted(items, key=lambda item: item.destination):
        entry, owner = item.entry, placed_owner(item.entry)
        record: list[object] = [
            item.destination,
            stat.S_IFMT(entry.info.st_mode),
            placed_mode(entry),
            owner.uid,
            owner.gid,
        ]
        if entry.is_file:
            record.append(file_digest(entry.location))
        elif entry.is_link:
            record.append(os.readlink(entry.location))
        elif not entry.is_directory:
            record.append(entry.info.st_rdev)
        record.append({name: value.hex() for name, value in xattrs_of(entry.location).items()})
        total.update(json.dumps(record).encode() + b"\n")
    return total.hexdigest()


def file_digest(location: str) -> str:
    """Return the SHA-256 of a file's content."""
    with open(location, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
