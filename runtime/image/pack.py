"""An overlay's upper directory becomes a layer's tar stream (OCI image layer specification, "Change Types")."""

from __future__ import annotations

import os
import stat
import tarfile
from pathlib import Path
from typing import IO

from runtime.image.tar_writer import TarWriter
from runtime.image.unpack import FOREIGN_XATTRS, OPAQUE, WHITEOUT, XATTR_PREFIX, is_opaque


def pack(directory: Path, out: IO[bytes]) -> int:
    """Write `directory` (overlayfs format) to `out` as a layer: whiteouts by name, entries in order of their names.

    Returns the bytes of its files.

    The same tree gives the same bytes, but for modification times, which are kept to the second.
    """
    if not any(directory.iterdir()):
        # a step that changed nothing: as others write nothing, so that it is the same layer everywhere
        out.write(bytes(2 * tarfile.BLOCKSIZE))
        return 0
    with TarWriter(out) as tar:
        return _add_directory(tar, str(directory), "", {})


def _add_directory(tar: TarWriter, path: str, name: str, links: dict[tuple[int, int], str]) -> int:
    size_bytes = 0
    if name:
        tar.add(_member(path, name, os.lstat(path), tarfile.DIRTYPE))
        if is_opaque(path):
            tar.add(tarfile.TarInfo(f"{name}/{OPAQUE}"))
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        found = entry.stat(follow_symlinks=False)
        inner = f"{name}/{entry.name}" if name else entry.name
        mode = found.st_mode
        if stat.S_ISCHR(mode) and found.st_rdev == 0:
            tar.add(tarfile.TarInfo(f"{name}/{WHITEOUT}{entry.name}" if name else WHITEOUT + entry.name))
        elif stat.S_ISDIR(mode):
            size_bytes += _add_directory(tar, entry.path, inner, links)
        elif found.st_nlink > 1 and (found.st_dev, found.st_ino) in links:
            member = _member(entry.path, inner, found, tarfile.LNKTYPE)
            member.linkname = links[found.st_dev, found.st_ino]
            tar.add(member)
        elif stat.S_ISREG(mode):
            links[found.st_dev, found.st_ino] = inner
            member = _member(entry.path, inner, found, tarfile.REGTYPE)
            member.size = found.st_size
            size_bytes += found.st_size
            tar.add(member)
            with open(entry.path, "rb", buffering=0) as content:
                tar.add_content(content, found.st_size)
        elif stat.S_ISLNK(mode):
            member = _member(entry.path, inner, found, tarfile.SYMTYPE)
            member.linkname = os.readlink(entry.path)
            tar.add(member)
        elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            member = _member(entry.path, inner, found, tarfile.CHRTYPE if stat.S_ISCHR(mode) else tarfile.BLKTYPE)
            member.devmajor, member.devminor = os.major(found.st_rdev), os.minor(found.st_rdev)
            tar.add(member)
        elif stat.S_ISFIFO(mode):
            tar.add(_member(entry.path, inner, found, tarfile.FIFOTYPE))
        # sockets have no place in a tar archive
    return size_bytes


def _member(path: str, name: str, found: os.stat_result, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.uid, member.gid = kind, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid
    member.mtime = int(found.st_mtime)
    if kind != tarfile.SYMTYPE:
        for key in os.listxattr(path, follow_symlinks=False):
            if not key.startswith(FOREIGN_XATTRS):
                value = os.getxattr(path, key, follow_symlinks=False)
                headers: dict[str, str] = member.pax_headers  # type: ignore[assignment]
                headers[XATTR_PREFIX + key] = value.decode("utf-8", "surrogateescape")
    return member
