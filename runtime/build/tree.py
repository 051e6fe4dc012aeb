"""The merged view of a stack of layer directories, read without mounting them.

A build looks at files of images and stages only to copy them, so it reads the layers as overlayfs would show them:
the topmost wins, directories merge, whiteouts hide, symbolic links stay inside. Source: kernel
Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import BadRequestError
from runtime.image.unpack import is_opaque

MAX_LINKS = 40
"""Symbolic links that one path may lead through, as in the kernel (path_resolution(7))."""


@dataclass(frozen=True)
class Entry:
    """Something in the tree: its path there, its place on the host, and for a directory every layer's part of it."""

    path: str
    location: str
    info: os.stat_result
    directories: tuple[str, ...] = ()

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.info.st_mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.info.st_mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.info.st_mode)


class Tree:
    """Layer directories, topmost first, as one tree whose root is `/`."""

    def __init__(self, directories: Sequence[Path]) -> None:
        self.directories = tuple(str(directory) for directory in directories)

    @property
    def root(self) -> Entry:
        """The root directory."""
        if not self.directories:
            return Entry("/", "", os.stat_result((stat.S_IFDIR | 0o755, 0, 0, 1, 0, 0, 0, 0, 0, 0)), ())
        # a client's directory is a link in /proc, which is followed
        return Entry("/", self.directories[0], os.stat(self.directories[0]), self.directories)

    def find(self, path: str, *, follow: bool = True) -> Entry | None:
        """Return what stands at `path`, or None; `follow` says whether a link as the last name is followed.

        Raises BadRequestError for links that lead in a circle.
        """
        pending = [name for name in path.split("/") if name not in ("", ".")][::-1]
        stack = [self.root]
        links = 0
        while pending:
            name = pending.pop()
            if name == "..":
                if len(stack) > 1:
                    stack.pop()
                continue
            entry = self.child(stack[-1], name)
            if entry is None:
                return None
            if entry.is_link and (pending or follow):
                links += 1
                if links > MAX_LINKS:
                    raise BadRequestError(f"{path}: {os.strerror(errno.ELOOP)}")
                target = os.readlink(entry.location)
                if target.startswith("/"):
                    del stack[1:]
                pending.extend(part for part in target.split("/")[::-1] if part not in ("", "."))
                continue
            stack.append(entry)
        return stack[-1]

    def resolve(self, path: str) -> str:
        """Return where the absolute `path` leads: a link in its place is followed as far as there are any.

        Raises BadRequestError for links that lead in a circle.
        """
        for _ in range(MAX_LINKS):
            entry = self.find(path, follow=False)
            if entry is None or not entry.is_link:
                return path
            # the parent's own path: a link may stand in a directory that another link led to
            path = posixpath.join(posixpath.dirname(entry.path), os.readlink(entry.location))
        raise BadRequestError(f"{path}: {os.strerror(errno.ELOOP)}")

    def child(self, directory: Entry, name: str) -> Entry | None:
        """Return `name` in `directory`, links not followed, or None when it is missing or hidden."""
        first: tuple[str, os.stat_result] | None = None
        parts: list[str] = []
        for parent in directory.directories:
            location = f"{parent}/{name}"
            try:
                info = os.lstat(location)
            except (FileNotFoundError, NotADirectoryError):
                continue
            if is_whiteout(info) or (parts and not stat.S_ISDIR(info.st_mode)):
                break
            first = first or (location, info)
            if not stat.S_ISDIR(info.st_mode):
                break
            parts.append(location)
            if is_opaque(location):
                break
        if first is None:
            return None
        return Entry(posixpath.join(directory.path, name), first[0], first[1], tuple(parts))

    def children(self, directory: Entry) -> list[Entry]:
        """Return what is in `directory`, by name."""
        if len(directory.directories) == 1:
            return list(_of_one(directory))
        names = {name for part in directory.directories for name in os.listdir(part)}
        entries = (self.child(directory, name) for name in sorted(names))
        return [entry for entry in entries if entry is not None]

    def walk(self, directory: Entry) -> Iterator[Entry]:
        """Yield everything below `directory`, parents before children, in the order of names."""
        for entry in self.children(directory):
            yield entry
            if entry.is_directory:
                yield from self.walk(entry)

    def read_text(self, path: str) -> str:
        """Return the text of the file at `path`, empty when there is none (an image without /etc/passwd)."""
        entry = self.find(path)
        if entry is None or not entry.is_file:
            return ""
        return Path(entry.location).read_text(errors="replace")


def _of_one(directory: Entry) -> Iterator[Entry]:
    """Yield what is in a directory that one layer has: nothing is merged, and no name is looked up by its whole path."""
    (part,) = directory.directories
    base = directory.path.rstrip("/")
    descriptor = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = []
        with os.scandir(descriptor) as scan:
            for one in scan:
                with suppress(FileNotFoundError):  # a client may remove it now
                    found.append((one.name, one.stat(follow_symlinks=False)))
        found.sort()
    finally:
        os.close(descriptor)
    for name, info in found:
        location = f"{part}/{name}"
        if stat.S_ISDIR(info.st_mode):
            yield Entry(f"{base}/{name}", location, info, (location,))
        elif not is_whiteout(info):
            yield Entry(f"{base}/{name}", location, info)


def is_whiteout(info: os.stat_result) -> bool:
    """Return whether `info` is of a whiteout: a 0/0 character device."""
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0
