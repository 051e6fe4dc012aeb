"""Copies a directory tree with owners, modes, times, extended attributes, hard and symbolic links, and nodes."""

from __future__ import annotations

import os
import stat

CHUNK_BYTES = 1 << 20


def copy_tree(source: str, target: int) -> None:
    """Copy the content and attributes of directory `source` to the directory descriptor `target`."""
    linked: dict[tuple[int, int], str] = {}

    def copy_directory(path: str, into: int, prefix: str) -> None:
        for entry in os.scandir(path):
            found = entry.stat(follow_symlinks=False)
            name = entry.name
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), name, dir_fd=into)
                os.chown(name, found.st_uid, found.st_gid, dir_fd=into, follow_symlinks=False)
                os.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=into, follow_symlinks=False)
                continue
            first = linked.setdefault((found.st_dev, found.st_ino), prefix + name)
            if first != prefix + name and not entry.is_dir():
                os.link(first, name, src_dir_fd=target, dst_dir_fd=into, follow_symlinks=False)
                continue
            if entry.is_dir():
                os.mkdir(name, dir_fd=into)
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            elif entry.is_file():
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            else:
                os.mknod(name, found.st_mode, found.st_rdev, dir_fd=into)
                os.chown(name, found.st_uid, found.st_gid, dir_fd=into)
                os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=into)
                continue
            descriptor = os.open(name, flags, 0o600, dir_fd=into)
            try:
                if entry.is_dir():
                    copy_directory(entry.path, descriptor, f"{prefix}{name}/")
                else:
                    _copy_file(entry.path, descriptor)
                copy_attributes(entry.path, descriptor)
            finally:
                os.close(descriptor)

    copy_directory(source, target, "")
    copy_attributes(source, target)


def _copy_file(path: str, target: int) -> None:
    content = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        while os.sendfile(target, content, None, CHUNK_BYTES):
            pass
    finally:
        os.close(content)


def copy_attributes(path: str, descriptor: int) -> None:
    """Copy owner, mode, extended attributes and times from `path` to the open file `descriptor`."""
    found = os.stat(path)
    os.fchown(descriptor, found.st_uid, found.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(found.st_mode))
    # after chown, which clears file capabilities (chown(2))
    for name in os.listxattr(path):
        if not name.startswith(("trusted.", "security.selinux")):
            os.setxattr(descriptor, name, os.getxattr(path, name))
    os.utime(descriptor, ns=(found.st_atime_ns, found.st_mtime_ns))
