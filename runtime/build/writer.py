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
from runtime.image.unpack import mark_opaque
from runtime.linux.ownership import chown

SMALL_BYTES, COPY_BYTES = 1 << 17, 1 << 30
"""Files up to the first size are read and written; of others this much is copied by one call."""
_PRIVATE_XATTRS = ("trusted.", "user.overlay.", "security.selinux")


@dataclass(frozen=True)
class Owner:
    """User and group by number."""

    uid: int = 0
    gid: int = 0


class Writer:
    """A tree that is written: `upper` takes every change, `lower` (topmost first) stays as it is.

    Directories that are missing on the way are made with `directory_mode`.
    Directories are copied up as overlayfs would on a write. Links in the way are followed inside the tree, so no path
    leaves it.
    """

    def __init__(self, upper: Path, lower: tuple[Path, ...] = (), directory_mode: int = 0o755) -> None:
        self.upper = upper
        self.directory_mode = directory_mode
        self.tree = Tree((upper, *lower))
        self._known: dict[str, str] = {}
        self._new: set[str] = set()
        """Directories in upper, by location, that stand where nothing was: all that is in them is in upper."""

    def directory(self, path: str, owner: Owner | None = None, mode: int | None = None) -> str:
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
            location = self._make(path, owner or Owner(), self.directory_mode if mode is None else mode)
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
        self._new.add(location)
        chown(location, owner.uid, owner.gid)
        os.chmod(location, mode)
        return location

    def _copied_up(self, entry: Entry) -> str:
        location = str(self.upper) + entry.path.rstrip("/")
        if os.path.isdir(location):
            return location
        parent = self.tree.find(posixpath.dirname(entry.path))
        assert parent is not None, "a directory that was found has a parent"
        above = self._copied_up(parent)
        before = os.stat(above)
        os.mkdir(location)
        copy_metadata(entry, location)
        # what was there before is no change of the directory above
        os.utime(above, ns=(before.st_atime_ns, before.st_mtime_ns))
        return location

    def place(self, path: str, owner: Owner | None = None) -> str:
        """Return where a new entry `path` goes in upper: its parents made, an earlier file there removed.

        Raises BadRequestError when a directory stands there.
        """
        path = posixpath.normpath("/" + path.lstrip("/"))
        directory = self.directory(posixpath.dirname(path), owner)
        location = f"{directory}/{posixpath.basename(path)}"
        if directory in self._new and not os.path.lexists(location):
            return location
        existing = self.tree.find(path, follow=False)
        if existing is not None and existing.is_directory:
            raise BadRequestError(
                f"cannot replace the directory {path} of the image with a file", "name another destination"
            )
        if os.path.lexists(location):
            os.unlink(location)
            self._forget()
        return location

    def _forget(self) -> None:
        """Forget what is known of directories: one of them, or a link to one, may be gone."""
        self._known.clear()
        self._new.clear()

    def has(self, path: str) -> bool:
        """Whether anything stands at `path`, a last link not followed."""
        return self.tree.find(path, follow=False) is not None

    def put_directory(
        self, path: str, owner: Owner | None, mode: int, *, xattrs: Mapping[str, bytes] | None = None
    ) -> None:
        """Make the directory `path`, or give the one that stands there this owner (None: its own), mode and attributes.

        Raises BadRequestError when something else stands there, a link to a directory as well.
        """
        existing = self.tree.find(path, follow=False)
        if existing is not None and not existing.is_directory:
            what = "a symbolic link" if existing.is_link else "no directory"
            raise BadRequestError(
                f"cannot copy to non-directory: {path} is {what} in the image",
                "copy the content to its place, or remove what stands there first",
            )
        location = self.directory(path, owner, mode)
        if owner is not None:
            chown(location, owner.uid, owner.gid)
        os.chmod(location, mode)
        set_xattrs(location, xattrs or {})

    def replace(self, path: str, owner: Owner | None = None, *, by_directory: bool = False) -> str:
        """Return where a new entry `path` goes in upper: its parents made, what stood there gone with all below it.

        A directory `by_directory` is not replaced. What it returns is not there yet, but for that directory.
        """
        path = posixpath.normpath("/" + path.lstrip("/"))
        directory = self.directory(posixpath.dirname(path), owner)
        location = f"{directory}/{posixpath.basename(path)}"
        if directory in self._new and not by_directory and not os.path.lexists(location):
            return location
        existing = self.tree.find(path, follow=False)
        if by_directory and (existing is None or existing.is_directory):
            return self.directory(path, owner)
        if os.path.islink(location) or not os.path.isdir(location):
            with suppress(FileNotFoundError):
                os.unlink(location)
        else:
            shutil.rmtree(location)
        self._forget()
        if by_directory:
            os.mkdir(location)
            if self._below(path):  # of a directory that a file has hidden until now, nothing may be seen again
                mark_opaque(location)
        return location

    def _below(self, path: str) -> tuple[str, ...]:
        """Return the layers' directories called `path`, whatever upper has there."""
        found = Tree(tuple(Path(one) for one in self.tree.directories[1:])).find(path, follow=False)
        return found.directories if found is not None else ()

    def put_entry(
        self,
        path: str,
        entry: Entry,
        owner: Owner,
        mode: int,
        mtime_ns: int | None = None,
        xattrs: Mapping[str, bytes] | None = None,
    ) -> str:
        """Copy a file, link or special file of another tree to `path`, with its time and attributes.

        Those that are given (`mtime_ns`, `xattrs`) stand for its own. Returns where it is.
        """
        location = self.place(path, owner)
        time_ns = entry.info.st_mtime_ns if mtime_ns is None else mtime_ns
        xattrs = xattrs_of(entry.location) if xattrs is None else xattrs
        if entry.is_link:
            os.symlink(os.readlink(entry.location), location)
        elif entry.is_file:
            with open(location, "xb", buffering=0) as file:
                _copy_content(entry.location, file.fileno())
                self.finish(file.fileno(), owner, mode, time_ns, xattrs)
            return location
        elif stat.S_ISSOCK(entry.info.st_mode):
            return location
        else:
            os.mknod(location, entry.info.st_mode, entry.info.st_rdev)
        self.finish(location, owner, mode, time_ns, xattrs)
        return location

    @staticmethod
    def finish(
        location: str | int, owner: Owner, mode: int, mtime_ns: int, xattrs: Mapping[str, bytes] | None = None
    ) -> None:
        """Give what stands at `location` its owner, mode (permission bits), time and extended attributes.

        `location` may be the descriptor of a file.
        """
        chown(location, owner.uid, owner.gid)
        if isinstance(location, int) or not os.path.islink(location):
            # after chown, which takes set-ID bits and capabilities away (chown(2))
            os.chmod(location, stat.S_IMODE(mode))
            set_xattrs(location, xattrs or {})
        os.utime(location, ns=(mtime_ns, mtime_ns), follow_symlinks=isinstance(location, int))


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


def set_xattrs(location: str | int, xattrs: Mapping[str, bytes]) -> None:
    """Set extended attributes of a path or descriptor, without those that the filesystem does not carry."""
    for name, value in xattrs.items():
        with suppress(OSError):
            if isinstance(location, int):
                os.setxattr(location, name, value)
            else:
                os.setxattr(location, name, value, follow_symlinks=False)


def _copy_content(source: str, target: int) -> None:
    """Copy the content of the file `source` to the empty file `target`, by reference where the file system can."""
    descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_size <= SMALL_BYTES:
            while data := os.read(descriptor, SMALL_BYTES):
                while data:
                    data = data[os.write(target, data) :]
            return
        with suppress(OSError):  # of another file system, on kernels before 5.19
            while os.copy_file_range(descriptor, target, COPY_BYTES):
                pass
        os.lseek(descriptor, os.lseek(target, 0, os.SEEK_CUR), os.SEEK_SET)
        while os.sendfile(target, descriptor, None, COPY_BYTES):
            pass
    finally:
        os.close(descriptor)
