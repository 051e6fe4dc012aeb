"""A snapshot of the watched files: events are checked against what is really there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from compose.watch.patterns import below
from compose.watch.rules import WatchRules


class Signature(NamedTuple):
    """What of a file's status shows that it changed (stat(2))."""

    mode: int
    size: int
    modified_ns: int
    changed_ns: int
    inode: int

    @classmethod
    def of(cls, path: str) -> Signature | None:
        """Return the signature of what is at `path`, a link itself; None where nothing is."""
        try:
            found = os.lstat(path)
        except OSError:
            return None
        return cls(found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, no link to one."""
        return stat.S_ISDIR(self.mode)


class FileSnapshot:
    """Remembers folders and their entries; links are entries and are not followed."""

    def __init__(self, rules: WatchRules) -> None:
        self._rules = rules
        self._roots = rules.roots()
        self._folders: dict[str, dict[str, Signature]] = {}

    def read_all(self) -> None:
        """Take the first snapshot."""
        for _ in self.reconciled():
            pass

    def reconciled(self) -> Iterator[str]:
        """Yield what differs from the snapshot, and update it."""
        for root in self._roots:
            yield from self._look(root, deep=True)

    def changed(self, path: str, *, is_new: bool) -> Iterator[str]:
        """Yield the changed paths of an event on `path`; of a removed or new folder also what was or is in it."""
        parent = os.path.dirname(path)
        root = next((each for each in self._roots if below(each, path) is not None), None)
        if root is None:
            # a parent of a root: the root may have been created with it
            for each in self._roots:
                if below(path, each) is not None:
                    yield from self._look(each, deep=True)
        elif not self._rules.pass_over(parent) and not self._is_behind_link(root, parent):
            was_known = os.path.basename(path) in self._folders.get(parent, {})
            found = list(self._look(path, deep=is_new))
            yield from found
            # what was created and removed unseen does not matter; all else is yielded, even if its status is the same
            if path not in found and (was_known or Signature.of(path) is not None):
                yield path

    def differing(self, path: str) -> Iterator[str]:
        """Yield what differs from the snapshot at and below `path`, and update it."""
        parent = os.path.dirname(path)
        root = next((each for each in self._roots if below(each, path) is not None), None)
        if root is not None and not self._rules.pass_over(parent) and not self._is_behind_link(root, parent):
            yield from self._look(path, deep=True)

    def all_below(self, path: str) -> Iterator[str]:
        """Yield all paths of the snapshot at and below `path`."""
        if path not in self._folders:
            if Signature.of(path) is not None:
                yield path
            return
        for name, signature in list(self._folders[path].items()):
            inner = os.path.join(path, name)
            if signature.is_folder:
                yield inner
                yield from self.all_below(inner)
            else:
                yield inner

    def _is_behind_link(self, root: str, folder: str) -> bool:
        """Whether `folder` is reached by a symbolic link below `root`: links are copied as links, not followed."""
        while below(root, folder):
            if os.path.islink(folder):
                return True
            folder = os.path.dirname(folder)
        return False

    def _look(self, path: str, *, deep: bool) -> Iterator[str]:
        """Update the snapshot of `path`; yield it if it differs. Folders are walked if `deep`, or if they are new."""
        now = Signature.of(path)
        parent, name = os.path.split(path)
        before = self._folders.get(parent, {}).get(name)
        if before is not None and before.is_folder and not (now is not None and now.is_folder):
            yield from self._forget(path)
        if now is None:
            if before is not None:
                del self._folders[parent][name]
                yield path
            return
        self._folders.setdefault(parent, {})[name] = now
        # a folder's times and size change with its entries, and those have events of their own
        if before is None or (before != now and not (now.is_folder and before.mode == now.mode)):
            yield path
        if now.is_folder and (deep or path not in self._folders):
            yield from self._walk(path)

    def _walk(self, folder: str) -> Iterator[str]:
        if self._rules.pass_over(folder):
            return
        known = self._folders.setdefault(folder, {})
        names: set[str] = set()
        with suppress(OSError):  # removed again, or not readable: that is an event of its own
            names = set(os.listdir(folder))
        for name in sorted({*names, *known}):
            yield from self._look(os.path.join(folder, name), deep=True)

    def _forget(self, folder: str) -> Iterator[str]:
        for name, signature in self._folders.pop(folder, {}).items():
            path = os.path.join(folder, name)
            if signature.is_folder:
                yield from self._forget(path)
            yield path


def existing_above(path: str) -> str:
    """Return the nearest parent folder of `path` that exists."""
    folder = os.path.dirname(path)
    while not os.path.isdir(folder) and folder != "/":
        folder = os.path.dirname(folder)
    return folder
