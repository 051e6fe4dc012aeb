"""A directory's content copied with everything that belongs to it: owners, modes, times, attributes, links, nodes."""

from __future__ import annotations

import os
import stat

CHUNK_BYTES = 1 << 20


def copy_tree(source: str, target: int) -> None:
    """Copy what is in the directory `source` to the directory descriptor `target`, which becomes like it."""
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
    """Give what is open as `descriptor` the owner, mode, attributes and times of `path`."""
    found = os.stat(path)
    os.fchown(descriptor, found.st_uid, found.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(found.st_mode))
    # after chown, which takes capabilities away (chown(2))
    for name in os.listxattr(path):
        if not name.startswith(("trusted.", "security.selinux")):
            os.setxattr(descriptor, name, os.getxattr(path, name))
    os.utime(descriptor, ns=(found.st_atime_ns, found.st_mtime_ns))
