"""Writes an EROFS image of a tree whose files lie in a tar archive, its extra device (kernel fs/erofs/erofs_fs.h).

    0       1024         1152          1280                     a block        to the end
    | zeros | superblock | device slot | inodes, root first ... | directories' and long links' data |

Blocks are as large as the archive's, 512 bytes, so that a file's content is a run of whole blocks of the archive: one
chunk, of as many blocks as it takes. All inodes are the extended ones, which have times and 32 bits of owners. Node
numbers (nid) are an inode's position in units of 32 bytes.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator, Mapping

from runtime.image.layer_tree import Node, UnfitError
from runtime.image.tar import encoded

BLOCK = 512
MAGIC = 0xE0F5E1E2
SUPERBLOCK, DEVICE_SLOT, FIRST_INODE = 1024, 1152, 1280
LABEL, LABEL_BYTES = SUPERBLOCK + 64, 16
"""Where an image has the name of its volume."""
INCOMPAT_CHUNKED_FILE, INCOMPAT_DEVICE_TABLE = 0x4, 0x8
NID_BYTES = 32
INODE_BYTES = 64
FLAT_PLAIN, FLAT_INLINE, CHUNK_BASED = 0, 2, 4
EXTENDED = 1
CHUNK_INDEXES = 0x20
MOST_CHUNK_BITS = 31
DIRENT = struct.Struct("<QHBx")
INODE = struct.Struct("<HHHHQIIIIQII16x")
CHUNK_INDEX = struct.Struct("<HHI")
XATTR_ENTRY = struct.Struct("<BBH")
XATTR_HEADER_BYTES = 12
XATTR_PREFIXES = (("user.", 1), ("trusted.", 4), ("security.", 6))
LARGEST_XATTRS = 4096
"""Attributes of one file; ext4 keeps as many in a block of their own."""
FILE_TYPES = {
    stat.S_IFREG: 1, stat.S_IFDIR: 2, stat.S_IFCHR: 3, stat.S_IFBLK: 4, stat.S_IFIFO: 5, stat.S_IFSOCK: 6,
    stat.S_IFLNK: 7,
}  # fmt: skip
PAGE = 4096


def image_of(root: Node, archive_bytes: int) -> bytes:
    """Return the image, without a label, of the tree at `root`, whose files lie in an archive of `archive_bytes`.

    Raises UnfitError.
    """
    try:
        return _Writer(root, archive_bytes).image()
    except struct.error as error:  # a time before 1970, an archive beyond 2 TiB
        raise UnfitError("a number has no room in its field") from error


class _Placed:
    """A node, where its inode lies, and where its data does that is not in the archive."""

    __slots__ = ("block", "blocks", "is_inline", "nid", "node", "parent", "xattrs")

    def __init__(self, node: Node, nid: int, xattrs: bytes, *, is_inline: bool) -> None:
        self.node = node
        self.nid = nid
        self.xattrs = xattrs
        self.is_inline = is_inline
        self.blocks: list[list[tuple[bytes, Node]]] = []
        self.block = 0
        self.parent = self


class _Writer:
    def __init__(self, root: Node, archive_bytes: int) -> None:
        self._archive_blocks = -(-archive_bytes // BLOCK)
        self._end = FIRST_INODE
        self._placed: dict[int, _Placed] = {}
        """By the node's identity: one with several names has one inode."""
        self._place_tree(root)
        self._block = -(-self._end // BLOCK)
        for placed in self._placed.values():
            if placed.node.is_directory:
                placed.blocks = list(_directory_blocks(placed.node))
                placed.block = self._take(len(placed.blocks))
            elif stat.S_ISLNK(placed.node.mode) and not placed.is_inline:
                placed.block = self._take(-(-placed.node.size // BLOCK))

    def _take(self, blocks: int) -> int:
        block = self._block
        self._block += blocks
        return block

    def _place_tree(self, root: Node) -> None:
        pending = [(root, root)]
        while pending:
            node, parent = pending.pop()
            placed = self._placed.get(id(node))
            if placed is None:
                placed = self._placed[id(node)] = self._place(node)
            if node.is_directory:
                placed.parent = self._placed[id(parent)]
                pending += ((child, node) for child in reversed(node.children.values()))

    def _place(self, node: Node) -> _Placed:
        xattrs = _xattrs(node.xattrs)
        head = INODE_BYTES + len(xattrs)
        start, length, is_inline = self._end, head, False
        if stat.S_ISREG(node.mode) and node.size:
            length = head + -head % 8 + CHUNK_INDEX.size
        elif stat.S_ISLNK(node.mode) and head % BLOCK + node.size <= BLOCK:
            # the data of an inode may not cross a block's border
            if (start + head) % BLOCK + node.size > BLOCK:
                start += -start % BLOCK
            length, is_inline = head + node.size, True
        self._end = start + length + -(start + length) % NID_BYTES
        return _Placed(node, start // NID_BYTES, xattrs, is_inline=is_inline)

    def image(self) -> bytes:
        size = self._block * BLOCK
        data = bytearray(size + -size % PAGE)
        for placed in self._placed.values():
            self._write(data, placed)
        struct.pack_into(
            "<IIIBBHQQIIII16s16sIHHHBBIQ24x", data, SUPERBLOCK,
            MAGIC, 0, 0, BLOCK.bit_length() - 1, 0, FIRST_INODE // NID_BYTES, len(self._placed), 0, 0,
            len(data) // BLOCK, 0, 0, b"", b"", INCOMPAT_CHUNKED_FILE | INCOMPAT_DEVICE_TABLE, 0,
            1, DEVICE_SLOT // 128, 0, 0, 0, 0,
        )  # fmt: skip
        struct.pack_into("<64sII56x", data, DEVICE_SLOT, b"", self._archive_blocks, 0)
        return bytes(data)

    def _write(self, data: bytearray, placed: _Placed) -> None:
        node, position = placed.node, placed.nid * NID_BYTES
        tail = position + INODE_BYTES + len(placed.xattrs)
        layout, detail, size, links = FLAT_PLAIN, placed.block, node.size, node.links
        if node.is_directory:
            size = self._write_directory(data, placed)
            links = 2 + sum(child.is_directory for child in node.children.values())
        elif stat.S_ISREG(node.mode) and size:
            layout, detail = CHUNK_BASED, CHUNK_INDEXES | _chunk_bits(size)
            CHUNK_INDEX.pack_into(data, tail + -tail % 8, 0, 1, node.offset // BLOCK)
        elif placed.is_inline:
            layout, detail = FLAT_INLINE, 0
            data[tail : tail + size] = node.link
        elif stat.S_ISLNK(node.mode):
            data[placed.block * BLOCK : placed.block * BLOCK + size] = node.link
        elif stat.S_ISCHR(node.mode) or stat.S_ISBLK(node.mode):
            major, minor = node.device
            detail = minor & 0xFF | major << 8 | (minor & ~0xFF) << 12  # the kernel's new_encode_dev
        seconds, nanoseconds = divmod(node.mtime_ns, 10**9)
        INODE.pack_into(
            data, position,
            EXTENDED | layout << 1, _xattr_count(placed.xattrs), node.mode, 0, size, detail, placed.nid & 0xFFFFFFFF,
            node.uid, node.gid, seconds, nanoseconds, links,
        )  # fmt: skip
        data[position + INODE_BYTES : tail] = placed.xattrs

    def _write_directory(self, data: bytearray, placed: _Placed) -> int:
        """Write the blocks of a directory; return its size: the last block counts as far as it is used."""
        used = 0
        for number, entries in enumerate(placed.blocks):
            start = (placed.block + number) * BLOCK
            name_offset = len(entries) * DIRENT.size
            for index, (name, node) in enumerate(entries):
                target = self._named(placed, name, node)
                kind = FILE_TYPES[stat.S_IFMT(target.node.mode)]
                DIRENT.pack_into(data, start + index * DIRENT.size, target.nid, name_offset, kind)
                data[start + name_offset : start + name_offset + len(name)] = name
                name_offset += len(name)
            used = name_offset
        return (len(placed.blocks) - 1) * BLOCK + used

    def _named(self, placed: _Placed, name: bytes, node: Node) -> _Placed:
        if name == b".":
            return placed
        return placed.parent if name == b".." else self._placed[id(node)]


def _directory_blocks(directory: Node) -> Iterator[list[tuple[bytes, Node]]]:
    """Yield the entries of each block of a directory: all sorted by their bytes, with "." and "..", names at its end."""
    entries = sorted([(b".", directory), (b"..", directory), *directory.children.items()], key=lambda entry: entry[0])
    block: list[tuple[bytes, Node]] = []
    used = 0
    for name, node in entries:
        if used + DIRENT.size + len(name) > BLOCK:
            yield block
            block, used = [], 0
        block.append((name, node))
        used += DIRENT.size + len(name)
    yield block


def _chunk_bits(size: int) -> int:
    """Return the chunk size, as a power of two of blocks, with which a file of `size` bytes is one chunk."""
    bits = (-(-size // BLOCK) - 1).bit_length()
    if bits > MOST_CHUNK_BITS:
        raise UnfitError("a file is too large")
    return bits


def _xattrs(xattrs: Mapping[str, bytes]) -> bytes:
    """Return the attributes as they follow an inode, b"" for none."""
    if not xattrs:
        return b""
    data = bytearray(XATTR_HEADER_BYTES)
    for key, value in xattrs.items():
        prefix, index = next((known for known in XATTR_PREFIXES if key.startswith(known[0])), ("", 0))
        name = encoded(key[len(prefix) :])
        if not index or not 0 < len(name) <= 255 or len(value) > 0xFFFF:
            raise UnfitError("an extended attribute is none of a file")
        data += XATTR_ENTRY.pack(len(name), index, len(value)) + name + value
        data += bytes(-len(data) % 4)
    if len(data) > LARGEST_XATTRS:
        raise UnfitError("the extended attributes of a file are too large")
    return bytes(data)


def _xattr_count(xattrs: bytes) -> int:
    return (len(xattrs) - XATTR_HEADER_BYTES) // 4 + 1 if xattrs else 0
