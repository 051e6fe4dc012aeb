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
from typing import Literal

from runtime.build.client_directory import ClientDirectory, is_copied
from runtime.build.digests import FileDigests, file_digest
from runtime.build.errors import DockerfileError, suggestion
from runtime.build.tree import Entry, Tree
from runtime.build.writer import Owner, xattrs_of
from runtime.dockerignore import Ignore, path_pattern

_WILDCARD = re.compile(r"^(?:[^\\*?\[]|\\.|\\$)*[*?\[]", re.DOTALL)


@dataclass(frozen=True)
class Match:
    """What one pattern of a COPY means: an entry, and the name that it was found under.

    `kept` is the part of the name that --parents keeps ("" without), `folders` the directories on the way to it, each with
    its name.
    """

    entry: Entry
    path: str
    is_by_wildcard: bool = False
    kept: str = ""
    folders: tuple[tuple[str, Entry], ...] = ()


@dataclass(frozen=True)
class Item:
    """One file or directory to be written: where to, and from what.

    `kind` is "top" for a copied directory itself, of which only the content is copied, "parent" for a directory above
    what --parents copies, else "entry". `source` is the number of the source that it came with: hard links are kept
    within one. `is_named` says that it is a source itself, and was not found in a copied directory.
    """

    destination: str
    entry: Entry
    kind: Literal["entry", "top", "parent"] = "entry"
    source: int = 0
    is_named: bool = False


@dataclass(frozen=True)
class Sources:
    """Where a COPY reads: a tree, with the rules that hide parts of it, and what to call it in messages.

    `client` is the directory that the tree is, where that is a client's own. `digests` are those of its files that are known.
    """

    tree: Tree
    ignore: Ignore = field(default_factory=Ignore)
    description: str = "the build context"
    client: ClientDirectory | None = None
    digests: FileDigests | None = None

    @classmethod
    def of_client(cls, client: ClientDirectory, ignore: Ignore, description: str = "the build context") -> Sources:
        """Return a client's directory as sources."""
        return cls(Tree((client.path,)), ignore, description, client, client.digests)

    def owner_of(self, entry: Entry) -> Owner:
        """Return whose `entry` is: everything of a client's directory is root's."""
        return Owner() if self.client is not None else Owner(entry.info.st_uid, entry.info.st_gid)

    def xattrs_of(self, entry: Entry) -> dict[str, bytes]:
        """Return the extended attributes of `entry`: of a client's directory none count."""
        return {} if self.client is not None else xattrs_of(entry.location)

    def time_ns_of(self, entry: Entry) -> int:
        """Return the modification time of `entry`; of a client's directory whole seconds count, as in an archive."""
        modified = entry.info.st_mtime_ns
        return modified if self.client is None else modified // 10**9 * 10**9

    def digest_of(self, entry: Entry) -> str:
        """Return the SHA-256 of the file `entry`. Raises OSError."""
        if self.digests is not None:
            return self.digests.of(entry.location, entry.info)
        return file_digest(entry.location)

    def check(self, entry: Entry, now: os.stat_result | None = None) -> None:
        """Raise ChangedError if `entry` is one of a client's directory and has changed since it was selected.

        `now` is the status of the file that was read, for one that is open.
        """
        if self.client is not None:
            self.client.check(entry, now)

    def find(self, patterns: Iterable[str], *, parents: bool = False) -> list[Match]:
        """Return what `patterns` mean, each in the order of names.

        One with wildcards may mean nothing. Raises DockerfileError (without a line) for one without that is missing, with
        the nearest name or the rule that hides it.
        """
        found: list[Match] = []
        for pattern in patterns:
            found += self._with_parents(pattern) if parents else self._plain(pattern)
        return found

    def select(
        self, matches: Iterable[Match], destination: str, *, is_directory: bool, exclude: Iterable[str] = ()
    ) -> list[Item]:
        """Return all that `matches` bring, each piece with its place below the absolute `destination`.

        `is_directory` says that the destination is one, so that files go into it.
        """
        # a pattern is relative to the source: one that begins with a slash matches nothing (BuildKit)
        relative = [pattern for pattern in exclude if not pattern.startswith("/")]
        excluded = Ignore.parse("\n".join(relative), "--exclude")
        items: list[Item] = []
        for number, match in enumerate(matches):
            entry, base = match.entry, posixpath.basename(match.path)
            if match.kept:
                items += self._placed_with_parents(match, destination, excluded, number)
            elif entry.is_directory:
                items.append(Item(destination, entry, "top", number))
                items += self._below(entry, match.path, destination, excluded, number)
            elif not (match.is_by_wildcard and excluded.excludes(base)):
                place = posixpath.join(destination, base) if is_directory else destination
                items.append(Item(place, entry, source=number, is_named=True))
        return items

    def _placed_with_parents(self, match: Match, destination: str, excluded: Ignore, number: int) -> Iterator[Item]:
        if excluded.excludes(match.kept):
            return
        for name, folder in match.folders:
            yield Item(posixpath.join(destination, name), folder, "parent", number)
        place = posixpath.join(destination, match.kept)
        yield Item(place, match.entry, source=number, is_named=True)
        if match.entry.is_directory:
            yield from self._below(match.entry, match.path, place, excluded, number, match.kept)

    def _plain(self, pattern: str) -> list[Match]:
        path = posixpath.normpath("/" + pattern.lstrip("/"))
        if not has_wildcards(path):
            entry = self.tree.find(path)
            if entry is None or not self._is_seen(entry, path):
                raise self._not_found(pattern, path)
            return [Match(entry, path)]
        names = path.strip("/").split("/")
        fixed = next(number for number, name in enumerate(names) if has_wildcards(name))
        start = "/" + "/".join(names[:fixed])
        root = self.tree.find(start)
        if root is None or not root.is_directory:
            raise self._not_found(pattern, start)
        found = []
        for path, entry in self._matching(root, start, "/".join(names[fixed:]), any_depth=False):
            # a link that matches is followed, and what it leads to has the link's name
            target = self.tree.find(entry.path) if entry.is_link else entry
            if target is not None and self._is_seen(target, path):
                found.append(Match(target, path, is_by_wildcard=True))
        return found

    def _with_parents(self, pattern: str) -> list[Match]:
        """Find with --parents: of the name all is kept, or what follows a `/./`; `**` stands for any number of directories."""
        front, pivot, rest = pattern.partition("/./")
        start = posixpath.normpath("/" + front.lstrip("/")) if pivot else "/"
        kept = posixpath.normpath("/" + (rest if pivot else pattern).lstrip("/")).lstrip("/")
        root = self.tree.find(start)
        if root is None or not root.is_directory:
            raise self._not_found(pattern, start)
        if not kept:
            return [Match(root, start)]
        found: list[tuple[str, Entry]] = []
        if has_wildcards(kept):
            found = list(self._matching(root, start, kept, any_depth=True))
        elif entry := self.tree.find(posixpath.join(root.path, kept)):
            found = [(posixpath.join(start, kept), entry)]
        found = [(path, entry) for path, entry in found if self._is_seen(entry, path)]
        if not found and not has_wildcards(kept):
            raise self._not_found(pattern, posixpath.join(start, kept))
        return [
            Match(entry, path, has_wildcards(kept), own := posixpath.relpath(path, start), self._folders(root, own))
            for path, entry in found
        ]

    def _folders(self, root: Entry, kept: str) -> tuple[tuple[str, Entry], ...]:
        names = kept.split("/")[:-1]
        above = ["/".join(names[: depth + 1]) for depth in range(len(names))]
        entries = ((name, self.tree.find(posixpath.join(root.path, name))) for name in above)
        return tuple((name, entry) for name, entry in entries if entry is not None)

    def _matching(self, root: Entry, start: str, pattern: str, *, any_depth: bool) -> Iterator[tuple[str, Entry]]:
        """Yield what matches below `root`, and nothing below what does; links are not gone through."""
        try:
            compiled = re.compile(path_pattern(pattern, any_depth=any_depth), re.DOTALL)
        except (re.error, ValueError):
            raise DockerfileError(
                f"syntax error in pattern: {pattern!r}", hint="close each [ with ], and put a backslash before a real ["
            ) from None
        pending = [("", root)]
        while pending:
            name, entry = pending.pop()
            if name and compiled.fullmatch(name):
                yield posixpath.join(start, name), entry
            elif entry.is_directory:
                children = self.tree.children(entry)
                pending += [(posixpath.join(name, posixpath.basename(one.path)), one) for one in reversed(children)]

    def _is_seen(self, entry: Entry, path: str) -> bool:
        relative = path.lstrip("/")
        if not relative or not self.ignore.excludes(relative):
            return True
        return entry.is_directory and self.ignore.has_exceptions and any(self._below(entry, path, "/", Ignore(), 0))

    def _below(
        self, directory: Entry, path: str, place: str, excluded: Ignore, number: int, inner: str = ""
    ) -> Iterator[Item]:
        can_return = self.ignore.has_exceptions or excluded.has_exceptions
        path, place, inner = path.rstrip("/"), place.rstrip("/"), f"{inner}/" if inner else ""
        for child in self.tree.children(directory):
            if self.client is not None and not is_copied(child):
                continue
            base = child.path.rpartition("/")[2]
            own, relative = f"{path}/{base}", f"{inner}{base}"
            hidden = self.ignore.excludes(own.lstrip("/")) or excluded.excludes(relative)
            if hidden and not (child.is_directory and can_return):
                continue
            item = Item(f"{place}/{base}", child, source=number)
            if not child.is_directory:
                yield item
                continue
            content = self._below(child, own, item.destination, excluded, number, relative)
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
        return DockerfileError(f"{pattern!r} not found in {self.description}", hint=self._nearest(path))

    def _nearest(self, path: str) -> str | None:
        parent = self.tree.find(posixpath.dirname(path))
        if parent is None or not parent.is_directory:
            missing = posixpath.dirname(path).lstrip("/")
            return f'there is no directory "{missing}" either'
        near = [posixpath.join(posixpath.dirname(path), posixpath.basename(e.path)) for e in self.tree.children(parent)]
        return suggestion(path.lstrip("/"), [name.lstrip("/") for name in near])


def has_wildcards(path: str) -> bool:
    """Whether a path has a wildcard that no backslash takes its meaning from."""
    return _WILDCARD.search(path) is not None


def digest_items(
    sources: Sources,
    items: Iterable[Item],
    placed_owner: Callable[[Entry], Owner],
    placed_mode: Callable[[Entry], int],
) -> str:
    """Return the SHA-256 of what the items will be in the image: names, kinds, owners, modes, content; no times.

    Their order counts, as a later one replaces an earlier one. A copied directory itself gives nothing but its name.
    """
    total = hashlib.sha256()
    for item in items:
        if item.kind == "top":
            total.update(json.dumps([item.destination]).encode() + b"\n")
            continue
        entry, owner = item.entry, placed_owner(item.entry)
        record: list[object] = [
            item.destination,
            stat.S_IFMT(entry.info.st_mode),
            placed_mode(entry),
            owner.uid,
            owner.gid,
        ]
        if entry.is_file:
            record.append(sources.digest_of(entry))
        elif entry.is_link:
            record.append(os.readlink(entry.location))
        elif not entry.is_directory:
            record.append(entry.info.st_rdev)
        record.append({name: value.hex() for name, value in sources.xattrs_of(entry).items()})
        total.update(json.dumps(record).encode() + b"\n")
    return total.hexdigest()
