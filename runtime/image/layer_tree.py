"""What a layer's tar stream says, as a tree in memory whose files lie in the archive itself.

The rules are those of `runtime.image.unpack`, which makes directories of the same (OCI image layer specification,
"Applying"); a test holds both against each other.
"""

from __future__ import annotations

import itertools
import stat
from collections.abc import Mapping

from runtime.errors import BadRequestError
from runtime.image import tar
from runtime.image.unpack import (
    FOREIGN_XATTRS,
    METADATA,
    MOST_LINKS,
    OPAQUE,
    OPAQUE_XATTRS,
    WHITEOUT,
    XATTR_NAMES,
    safe_name,
)

_FORMATS = {
    tar.FIFO: stat.S_IFIFO,
    tar.CHARACTER: stat.S_IFCHR,
    tar.BLOCK_DEVICE: stat.S_IFBLK,
    tar.SYMLINK: stat.S_IFLNK,
}
DEFAULT_MODE = 0o755
MOST_FILES = 200_000
"""The tree is held in memory, about 500 bytes a file: larger layers are unpacked, which takes none."""
MOST_TEXT = 32 << 20
"""Characters of names, paths and links and bytes of attributes that are held with it."""
LONGEST_NAME, LONGEST_PATH = 255, 1000
"""Bytes of a name, characters of a path: more than that, the kernel may not open."""
LARGEST_ID = 0xFFFFFFFE
LATEST_S = 0x37FFFFFFF
"""The last second that ext4 can store (2446)."""


class UnfitError(Exception):
    """The layer has what no index of it can say, or is damaged: it must be unpacked, which reports what is wrong."""


_NO_XATTRS: dict[str, bytes] = {}
_NO_CHILDREN: dict[bytes, Node] = {}


class Node:
    """A file of any kind. `offset` is where the content of a regular one begins in the archive."""

    __slots__ = ("children", "device", "gid", "link", "links", "mode", "mtime_ns", "offset", "size", "uid", "xattrs")

    def __init__(self, mode: int) -> None:
        """`mode` has the file's kind and permissions."""
        self.mode = mode
        self.uid = self.gid = self.mtime_ns = self.size = self.offset = 0
        self.device = (0, 0)
        self.links = 1
        self.link = b""
        self.xattrs: Mapping[str, bytes] = _NO_XATTRS
        self.children: dict[bytes, Node] = {} if stat.S_ISDIR(mode) else _NO_CHILDREN

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)


def read_tree(source: tar.Input) -> tuple[Node, int]:
    """Return the root of the layer in `source`, and the bytes of its files. Raises UnfitError."""
    try:
        return _Reader().run(source)
    except (BadRequestError, tar.TarError, ValueError, OverflowError) as error:
        raise UnfitError(str(error)) from error


class _Reader:
    def __init__(self) -> None:
        self._root = Node(stat.S_IFDIR | DEFAULT_MODE)
        self._directories: dict[str, Node] = {"": self._root}
        self._aliases: dict[str, str] = {}
        """Where directories' names lead that go through links of the layer."""
        self._opaque: list[Node] = []
        self._files = 0
        self._text = 0
        self._mtime_ns = 0
        """The time of the current entry: directories above it that have no entry of their own get it."""

    def run(self, source: tar.Input) -> tuple[Node, int]:
        size_bytes = 0
        for entry in tar.entries(source):
            _check(entry)
            self._hold(len(entry.name) + len(entry.link) + sum(map(len, itertools.chain(*entry.xattrs.items()))))
            self._mtime_ns = entry.mtime_ns
            path = safe_name(entry.name)
            if path == ".":
                path = ""
            parent, _, name = path.rpartition("/")
            if path and parent not in self._directories:
                parent = self._parent(parent)
                path = f"{parent}/{name}" if parent else name
            if path and name.startswith(WHITEOUT):
                self._whiteout(parent, name)
                source.skip(entry.size + tar.padding(entry.size))
            elif entry.kind == tar.DIRECTORY:
                node = self._directory(path)
                _apply(node, entry)
            elif not path:
                raise UnfitError("the root is not a directory")
            elif entry.kind == tar.REGULAR:
                size_bytes += self._file(parent, name, entry, source)
            else:
                self._special(parent, name, entry)
                source.skip(entry.size + tar.padding(entry.size))
        for node in self._opaque:
            node.xattrs = {**node.xattrs, OPAQUE_XATTRS[0]: b"y"}
        return self._root, size_bytes

    def _hold(self, text: int) -> None:
        """Count a file and the `text` held with it: a few bytes of a compressed layer may stand for gigabytes of it."""
        self._files += 1
        self._text += text
        if self._files > MOST_FILES:
            raise UnfitError(f"it has more than {MOST_FILES} files")
        if self._text > MOST_TEXT:
            raise UnfitError("its names, links and attributes are too large")

    def _parent(self, path: str) -> str:
        """Return the directory that `path` leads to, through links of the layer; missing ones are made."""
        if path in self._aliases:
            return self._aliases[path]
        pending = path.split("/")[::-1]
        found, links = "", 0
        while pending:
            part = pending.pop()
            if part in ("", "."):
                continue
            if part == "..":  # of a link
                found = found.rpartition("/")[0]
                continue
            step = f"{found}/{part}" if found else part
            node = self._directories[found].children.get(tar.encoded(part))
            if node is not None and stat.S_ISLNK(node.mode):
                links += 1
                if links > MOST_LINKS:
                    raise UnfitError("a link leads in a circle")
                target = tar.text(node.link)
                if target.startswith("/"):
                    found = ""
                pending += target.split("/")[::-1]
                continue
            self._directory(step)
            found = step
        self._hold(len(path))
        self._aliases[path] = found
        return found

    def _directory(self, path: str) -> Node:
        if path in self._directories:
            return self._directories[path]
        self._hold(len(path))
        node = Node(stat.S_IFDIR | DEFAULT_MODE)
        node.mtime_ns = self._mtime_ns
        parent, _, name = path.rpartition("/")
        self._put(parent, name, node)
        self._directories[path] = node
        return node

    def _put(self, parent: str, name: str, node: Node) -> None:
        """Make `node` what has the name, in place of what an earlier entry of the layer made."""
        children = self._directories[parent].children
        key = tar.encoded(name)
        if len(key) > LONGEST_NAME:
            raise UnfitError("a name is too long")
        known = children.get(key)
        if known is not None:
            known.links -= 1
            if known.is_directory:
                self._forget(f"{parent}/{name}" if parent else name)
            self._aliases.clear()
        children[key] = node

    def _forget(self, path: str) -> None:
        """Forget a directory and all below it: in the time that these take, as a layer may have thousands of them."""
        pending = [path]
        while pending:
            gone = pending.pop()
            for key, child in self._directories.pop(gone).children.items():
                child.links -= 1
                if child.is_directory:
                    pending.append(f"{gone}/{tar.text(key)}")

    def _whiteout(self, parent: str, name: str) -> None:
        if name == OPAQUE:
            self._opaque.append(self._directories[parent])
            return
        if name.startswith(METADATA):
            return
        hidden = name[len(WHITEOUT) :]
        if hidden in ("", ".", ".."):
            raise UnfitError("a whiteout names no file")
        if tar.encoded(hidden) not in self._directories[parent].children:
            # overlayfs: a whiteout is a 0/0 character device (kernel Documentation/filesystems/overlayfs.rst)
            node = Node(stat.S_IFCHR)
            node.mtime_ns = self._mtime_ns
            self._put(parent, hidden, node)

    def _file(self, parent: str, name: str, entry: tar.TarEntry, source: tar.Input) -> int:
        if entry.sparse is not None:
            raise UnfitError("a sparse file is not in one piece")
        node = Node(stat.S_IFREG)
        _apply(node, entry)
        node.offset, node.size = source.position, entry.size
        self._put(parent, name, node)
        for _ in source.payload(entry.size):
            pass
        if any(source.header(tar.padding(entry.size))):
            raise UnfitError("a file's last block is not filled up with zeros, which mmap(2) would show")
        return entry.size

    def _special(self, parent: str, name: str, entry: tar.TarEntry) -> None:
        if entry.kind == tar.OTHER:
            return
        if entry.kind == tar.LINK:
            linked = safe_name(entry.link)
            holder, _, last = linked.rpartition("/")
            if holder not in self._directories:
                holder = self._parent(holder)
            node = self._directories[holder].children.get(tar.encoded(last))
            if node is None or node.is_directory or node is self._directories[parent].children.get(tar.encoded(name)):
                raise UnfitError("a hard link leads to nothing")
            node.links += 1
        else:
            node = Node(_FORMATS[entry.kind])
            _apply(node, entry)
            node.device = (entry.major, entry.minor)
            if entry.kind == tar.SYMLINK:
                node.link = tar.encoded(entry.link)
                node.size = len(node.link)
                node.mode = stat.S_IFLNK | 0o777
        self._put(parent, name, node)


def _check(entry: tar.TarEntry) -> None:
    """Raise UnfitError for what a filesystem would refuse or change."""
    if not (0 <= entry.uid <= LARGEST_ID and 0 <= entry.gid <= LARGEST_ID):
        raise UnfitError("an owner is no number of one")
    if not 0 <= entry.mtime_ns // 10**9 <= LATEST_S:
        raise UnfitError("a time is out of range")
    if "\0" in entry.name or "\0" in entry.link or (entry.kind == tar.SYMLINK and not entry.link):
        raise UnfitError("a name is none")
    if len(entry.name) > LONGEST_PATH or len(entry.link) > LONGEST_PATH:
        raise UnfitError("a path is too long")
    if entry.major >> 12 or entry.minor >> 20 or entry.major < 0 or entry.minor < 0:
        raise UnfitError("a device's number is too large")


def _apply(node: Node, entry: tar.TarEntry) -> None:
    node.mode = stat.S_IFMT(node.mode) | entry.mode
    node.uid, node.gid, node.mtime_ns = entry.uid, entry.gid, entry.mtime_ns
    node.xattrs = _NO_XATTRS
    if entry.xattrs:
        node.xattrs = {key: value for key, value in entry.xattrs.items() if _is_kept(node, key)}


def _is_kept(node: Node, key: str) -> bool:
    """Return whether an attribute comes onto the node; as in `unpack`, but for those of which the kernel decides."""
    if key.startswith(FOREIGN_XATTRS):
        return False
    if key.startswith("user."):  # for files and directories alone (xattr(7))
        return stat.S_ISREG(node.mode) or stat.S_ISDIR(node.mode)
    if not key.startswith(XATTR_NAMES):
        raise UnfitError("an extended attribute has a meaning of its own")
    return True
