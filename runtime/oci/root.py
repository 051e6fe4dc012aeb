"""A root directory, and operations on paths inside it.

Symbolic links in an image or volume are resolved inside the root (openat2(2), RESOLVE_IN_ROOT).
"""

from __future__ import annotations

import errno
import os

from runtime.errors import KernelError
from runtime.linux import syscalls as linux
from runtime.oci.process import StartError

LINKS_FOLLOWED = 40


class RootError(StartError):
    """The root filesystem can't be set up with this image or these mounts."""


class Root:
    """A root directory, which is a mount point, and operations inside it."""

    def __init__(self, path: str) -> None:
        self.path = os.path.realpath(path)
        self.descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._read_only_later: list[int] = []

    def open(self, path: str, flags: int, resolve: int = 0) -> int:
        """Open `path` as if in a chroot to this directory. Raises KernelError."""
        resolve |= linux.RESOLVE_IN_ROOT | linux.RESOLVE_NO_MAGICLINKS
        return linux.open_inside(self.descriptor, os.fsencode(path), flags, resolve)

    def find(self, path: str) -> int:
        """Return an O_PATH descriptor of `path`, -1 if it does not exist."""
        try:
            return self.open(path, os.O_PATH)
        except KernelError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            return -1

    def provide(self, path: str, is_directory: bool, links: int = LINKS_FOLLOWED) -> int:
        """Return an O_PATH descriptor of `path`; create missing parts of it, also behind dangling links."""
        try:
            return self.open(path, os.O_PATH)
        except KernelError as error:
            if error.errno != errno.ENOENT or not links:
                raise
        parent, name = os.path.split(path.rstrip("/"))
        parent_descriptor = self.provide(parent or "/", True, links)
        try:
            try:
                if is_directory:
                    os.mkdir(name, 0o755, dir_fd=parent_descriptor)
                else:
                    flags = os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
                    os.close(os.open(name, flags, 0o644, dir_fd=parent_descriptor))
            except FileExistsError:
                # a dangling link
                target = os.readlink(name, dir_fd=parent_descriptor)
                inside = target if target.startswith("/") else f"{parent}/{target}"
                return self.provide(inside, is_directory, links - 1)
            return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_descriptor)
        finally:
            os.close(parent_descriptor)

    def holds(self, path: str) -> bool:
        """Whether the path of the host's, as it is written, is below this root."""
        return f"{os.path.normpath(path)}/".startswith(f"{self.path.rstrip('/')}/")

    def make_read_only_later(self, mounted: int) -> None:
        """Keep the descriptor of a mount, which becomes read-only when everything in it exists."""
        self._read_only_later.append(mounted)

    def make_read_only(self, *, itself: bool = False) -> None:
        """Make the kept mounts read-only, and `itself`: the mount of the root. Close all descriptors but the root's."""
        for mounted in self._read_only_later:
            linux.set_mount(mounted, linux.MOUNT_ATTR_RDONLY, recursive=False)
            os.close(mounted)
        self._read_only_later.clear()
        if itself:
            linux.set_mount(self.descriptor, linux.MOUNT_ATTR_RDONLY, recursive=False)

    def place_of(self, descriptor: int) -> str:
        """Return the path of `descriptor` relative to this root."""
        return os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(self.path.rstrip("/")) or "/"
