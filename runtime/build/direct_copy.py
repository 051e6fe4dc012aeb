"""A COPY becomes a layer's archive at once, without a file of it being created.

`Writer` makes an upper directory, which is packed and digested then: each file is created, written, synced and read again.
Most copies need none of what a filesystem does: they put files into directories that are new, or that the layers below
have as directories. Their layer is a tree in memory, and its archive is written from what is copied. Anything else (links
on the way, attributes, directories in the place of files) raises NotDirectError, and is left to `Writer`; a test holds
both against each other.
"""

from __future__ import annotations

import errno
import itertools
import os
import posixpath
import stat
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import IO

from runtime.build.client_directory import ChangedError
from runtime.build.selection import Item, Sources
from runtime.build.tree import Entry, Tree
from runtime.build.writer import Owner, xattrs_of
from runtime.image.layer_tree import Node
from runtime.image.tar import encoded, text
from runtime.image.tar_writer import TarWriter

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Not blocking, as what was a file may be a pipe now."""
WHOLE_BYTES = 1 << 20
"""Files up to this size are read at once."""
_TYPES = {
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}


class NotDirectError(Exception):
    """The copy needs a filesystem."""


@dataclass(frozen=True)
class Directory:
    """A directory of the layer, and what the layers below have there."""

    node: Node
    below: Entry | None


@dataclass(frozen=True)
class Rules:
    """What a COPY gives its copies: owner, permission bits and time by entry; `owner` and `mode` of missing directories."""

    owner_of: Callable[[Entry], Owner]
    mode_of: Callable[[Entry], int]
    owner: Owner
    mode: int
    keeps_owner: bool


class DirectCopy:
    """The layer of one COPY of `items`, which are of `sources`, onto `layers` (topmost first)."""

    def __init__(self, layers: tuple[Path, ...], sources: Sources, items: list[Item], rules: Rules) -> None:
        """Plan the copy. Raises NotDirectError, and OSError for what can't be read."""
        self._layers = Tree(layers)
        self._sources = sources
        self._rules = rules
        self._now_ns = time.time_ns()
        self._root = Node(stat.S_IFDIR | 0o755)
        self._directories = {"/": Directory(self._root, self._layers.root)}
        self._files: dict[int, Entry] = {}
        """What the content of a node is, by the node's identity."""
        for _, group in itertools.groupby(items, key=lambda item: item.source):
            self._add_source(list(group))

    # --- the tree

    def _add_source(self, items: list[Item]) -> None:
        linked: dict[tuple[int, int], Node] = {}
        timed = []
        for item in items:
            if item.kind == "parent" or stat.S_ISSOCK(item.entry.info.st_mode):
                raise NotDirectError
            if item.kind == "top":
                directory = self._directory(item.destination)
                if item.entry.location != "" and (item.entry.path != "/" or self._rules.keeps_owner):
                    timed.append((directory.node, item.entry))
            elif item.entry.is_directory:
                directory = self._directory(item.destination)
                self._apply(directory.node, item.entry)
                timed.append((directory.node, item.entry))
            else:
                self._file(item, linked)
        # a directory's time is its source's until a later source puts something into it
        for node, entry in timed:
            node.mtime_ns = self._sources.time_ns_of(entry)

    def _apply(self, node: Node, entry: Entry) -> None:
        if self._sources.xattrs_of(entry):
            raise NotDirectError
        owner = self._rules.owner_of(entry)
        node.uid, node.gid = owner.uid, owner.gid
        if not entry.is_link:
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(self._rules.mode_of(entry))

    def _directory(self, path: str) -> Directory:
        """Return the directory `path`, made or copied up with those above it."""
        path = posixpath.normpath("/" + path.lstrip("/"))
        found = self._directories.get(path)
        if found is not None:
            return found
        parent, _, name = path.rpartition("/")
        above = self._directory(parent or "/")
        if encoded(name) in above.node.children:  # a file or a link
            raise NotDirectError
        below = None if above.below is None else self._layers.child(above.below, name)
        node = Node(stat.S_IFDIR | self._rules.mode)
        if below is None:
            node.uid, node.gid, node.mtime_ns = self._rules.owner.uid, self._rules.owner.gid, self._now_ns
            above.node.mtime_ns = self._now_ns
        elif below.is_directory and not xattrs_of(below.location):
            info = below.info
            node.mode = info.st_mode
            node.uid, node.gid, node.mtime_ns = info.st_uid, info.st_gid, info.st_mtime_ns
        else:
            raise NotDirectError
        above.node.children[encoded(name)] = node
        found = self._directories[path] = Directory(node, below)
        return found

    def _file(self, item: Item, linked: dict[tuple[int, int], Node]) -> None:
        entry, info = item.entry, item.entry.info
        parent, _, name = item.destination.rpartition("/")
        if name in ("", ".", ".."):
            raise NotDirectError
        above = self._directories.get(parent) or self._directory(parent)
        key = encoded(name)
        below = None if above.below is None else self._layers.child(above.below, name)
        if key in above.node.children or (below is not None and below.is_directory):
            raise NotDirectError
        node = linked.get((info.st_dev, info.st_ino)) if entry.is_file else None
        if node is not None:
            node.links += 1
        else:
            node = Node(stat.S_IFMT(info.st_mode) | 0o777)
            self._apply(node, entry)
            node.mtime_ns = self._sources.time_ns_of(entry)
            if entry.is_link:
                node.link = encoded(os.readlink(entry.location))
                node.size = len(node.link)
            elif entry.is_file:
                node.size = info.st_size
                self._files[id(node)] = entry
                if info.st_nlink > 1:
                    linked[info.st_dev, info.st_ino] = node
            else:
                node.device = (os.major(info.st_rdev), os.minor(info.st_rdev))
        above.node.children[key] = node
        above.node.mtime_ns = self._now_ns

    # --- the archive

    def write(self, out: IO[bytes]) -> tuple[Node, int]:
        """Write the archive as `pack` would, reading what is copied; return the tree and the bytes of its files. Blocking.

        Raises ChangedError if a client's file has changed since it was selected.
        """
        if not self._root.children:
            out.write(bytes(2 * tarfile.BLOCKSIZE))
            return self._root, 0
        with TarWriter(out) as tar:
            return self._root, self._write_directory(tar, self._root, "", {})

    def _write_directory(self, tar: TarWriter, directory: Node, name: str, written: dict[int, str]) -> int:
        size_bytes = 0
        if name:
            tar.add(_member(name, directory, tarfile.DIRTYPE))
        for key, node in sorted(((text(key), node) for key, node in directory.children.items()), key=itemgetter(0)):
            inner = f"{name}/{key}" if name else key
            if node.is_directory:
                size_bytes += self._write_directory(tar, node, inner, written)
            elif id(node) in written:
                member = _member(inner, node, tarfile.LNKTYPE)
                member.linkname = written[id(node)]
                tar.add(member)
            elif stat.S_ISREG(node.mode):
                written[id(node)] = inner
                self._write_file(tar, node, inner)
                size_bytes += node.size
            else:
                member = _member(inner, node, _TYPES[stat.S_IFMT(node.mode)])
                member.linkname = text(node.link)
                member.devmajor, member.devminor = node.device
                tar.add(member)
        return size_bytes

    def _write_file(self, tar: TarWriter, node: Node, name: str) -> None:
        entry = self._files[id(node)]
        member = _member(name, node, tarfile.REGTYPE)
        member.size = node.size
        tar.add(member)
        node.offset = tar.position
        try:
            descriptor = os.open(entry.location, READ)
        except OSError as error:
            if error.errno == errno.ELOOP:  # it is a link now
                raise ChangedError(entry.path) from error
            raise
        try:
            self._sources.check(entry, os.fstat(descriptor))
            if node.size <= WHOLE_BYTES:
                content = os.read(descriptor, node.size)
                if len(content) < node.size:
                    raise ChangedError(entry.path)
                tar.add_whole(content)
            else:
                _add_content(tar, descriptor, entry)
            self._sources.check(entry, os.fstat(descriptor))
        finally:
            os.close(descriptor)


def _add_content(tar: TarWriter, descriptor: int, entry: Entry) -> None:
    with open(descriptor, "rb", buffering=0, closefd=False) as content:
        try:
            tar.add_content(content, entry.info.st_size)
        except OSError as error:
            if error.errno is None:  # it became shorter
                raise ChangedError(entry.path) from error
            raise


def _member(name: str, node: Node, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.uid, member.gid = kind, stat.S_IMODE(node.mode), node.uid, node.gid
    # `stat_result.st_mtime` is such a sum, and `pack` takes its whole part: the same layer both ways
    seconds, nanoseconds = divmod(node.mtime_ns, 10**9)
    member.mtime = int(seconds + 1e-9 * nanoseconds)
    node.mtime_ns = member.mtime * 10**9
    return member
