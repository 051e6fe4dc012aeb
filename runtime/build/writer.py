"""Writing a step's files into its upper directory, below what the layers already hold."""

from __future__ import annotations

import os
import posixpath
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runtime.build.tree import Entry, Tree
from runtime.errors import BadRequestError
from runtime.linux.ownership import chown

_PRIVATE_XATTRS = ("trusted.", "user.overlay.", "security.selinux")


@dataclass(frozen=True)
class Owner:
    """User and group by number."""

    uid: int = 0
    gid: int = 0


class Writer:
    """A tree that is written: `upper` takes every change, `lower` (topmost first) stays as it is.

    Directories are copied up as overlayfs would on a write. Links in the way are followed inside the tree, so no path
    leaves it.
    """

    def __init__(self, upper: Path, lower: tuple[Path, ...] = ()) -> None:
        self.upper = upper
        self.tree = Tree((upper, *lower))
        self._known: dict[str, str] = {}

    def directory(self, path: str, owner: Owner | None = None, mode: int = 0o755) -> str:
        """Return where the directory `path` lies in upper, made with `owner` and `mode` as far as it is missing.

        Raises BadRequestError when something else than a directory stands in the way.
        """
        path = posixpath.normpath("/" + path.lstrip("/"))
        if path == "/":
            return str(self.upper)
        if path in self._known:
            return self._known[path]
        existing = self.tree.find(path)
        if existing is None:
            location = self._make(path, owner or Owner(), mode)
        elif existing.is_directory:
            location = self._copied_up(existing)
        else:
            raise BadRequestError(f"cannot copy into {path}: it is not a directory")
        self._known[path] = location
        return location

    def _make(self, path: str, owner: Owner, mode: int) -> str:
        link = self.tree.find(path, follow=False)
        if link is not None:
            # a dangling link: what it points to is what has to be made
            target = posixpath.join(posixpath.dirname(path), os.readlink(link.location))
            if posixpath.normpath(target) == path:
                raise BadRequestError(f"cannot copy into {path}: it is a link to itself")
            return self.directory(target, owner, mode)
        location = f"{self.directory(posixpath.dirname(path), owner, mode)}/{posixpath.basename(path)}"
        os.mkdir(location)
        chown(location, owner.uid, owner.gid)
        os.chmod(location, mode)
        return location

    def _copied_up(self, entry: Entry) -> str:
        location = str(self.upper) + entry.path.rstrip("/")
        if os.path.isdir(location):
            return location
        parent = self.tree.find(posixpath.dirname(entry.path))
        assert parent is not None, "a directory that was found has a parent"
        self._copied_up(parent)
        os.mkdir(location)
        copy_metadata(entry, location)
        return location

    def place(self, path: str, owner: Owner | None = None) -> str:
        """Return where a new entry `path` goes in upper: its parents made, an earlier file there removed.

        Raises BadRequestError when a directory stands there.
        """
        path = posixpath.normpath("/" + path.lstrip("/"))
        location = f"{self.directory(posixpath.dirname(path), owner)}/{posixpath.basename(path)}"
        existing = self.tree.find(path, follow=False)
        if existing is not None and existing.is_directory:
            raise BadRequestError(f"cannot copy a file over the directory {path}")
        if os.path.lexists(location):
            os.unlink(location)
            self._known.clear()
        return location

    def put_directory(self, path: str, owner: Owner, mode: int, mtime_ns: int | None = None) -> None:
        """Make the directory `path`, or give the one that stands there this owner, mode and time (nanoseconds)."""
        location = self.directory(path, owner, mode)
        chown(location, owner.uid, owner.gid)
        os.chmod(location, mode)
        if mtime_ns is not None:
            os.utime(location, ns=(mtime_ns, mtime_ns))

    def put_entry(self, path: str, entry: Entry, owner: Owner, mode: int) -> None:
        """Copy a file, link or special file of another tree to `path`, with its time and attributes."""
        location = self.place(path, owner)
        if entry.is_link:
            os.symlink(os.readlink(entry.location), location)
        elif entry.is_file:
            shutil.copyfile(entry.location, location)
        elif stat.S_ISSOCK(entry.info.st_mode):
            return
        else:
            os.mknod(location, entry.info.st_mode, entry.info.st_rdev)
        self.finish(location, owner, mode, entry.info.st_mtime_ns, xattrs_of(entry.location))

    @staticmethod
    def finish(
        location: str, owner: Owner, mode: int, mtime_ns: int, xattrs: Mapping[str, bytes] | None = None
    ) -> None:
        """Give what stands at `location` its owner, mode (permission bits), time and extended attributes."""
        chown(location, owner.uid, owner.gid)
        if not os.path.islink(location):
            # after chown, which takes set-ID bits and capabilities away (chown(2))
            os.chmod(location, stat.S_IMODE(mode))
            set_xattrs(location, xattrs or {})
        os.utime(location, ns=(mtime_ns, mtime_ns), follow_symlinks=False)


def copy_metadata(entry: Entry, location: str) -> None:
    """Give `location` the owner, mode, attributes and times of `entry`."""
    info = entry.info
    chown(location, info.st_uid, info.st_gid)
    os.chmod(location, stat.S_IMODE(info.st_mode))
    set_xattrs(location, xattrs_of(entry.location))
    os.utime(location, ns=(info.st_atime_ns, info.st_mtime_ns))


def xattrs_of(location: str) -> dict[str, bytes]:
    """Return the extended attributes that belong to the content, not to overlayfs or the host."""
    try:
        names = os.listxattr(location, follow_symlinks=False)
    except OSError:
        return {}
    kept = (name for name in sorted(names) if not name.startswith(_PRIVATE_XATTRS))
    return {name: os.getxattr(location, name, follow_symlinks=False) for name in kept}


def set_xattrs(location: str, xattrs: Mapping[str, bytes]) -> None:
    """Set extended attributes, without those that the filesystem does not carry."""
    for name, value in xattrs.items():
        with suppress(OSError):
            os.setxattr(location, name, value, follow_symlinks=False)
