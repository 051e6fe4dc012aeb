"""The entries of a tar stream: ustar, pax and GNU (POSIX.1-2017, pax; GNU tar manual, "Tar Internals").

The standard library's reader takes three times as long for an entry, hides where the payload lies, and decodes
extended attributes as text; layers need all three otherwise.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

BLOCK = 512
LARGEST_EXTENSION_BYTES = 16 << 20
REGULAR, LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO, OTHER = (
    "file",
    "link",
    "symlink",
    "char",
    "block",
    "dir",
    "fifo",
    "other",
)
XATTR = b"SCHILY.xattr."
_ENDS = b"\0 "
_KINDS = {
    b"0": REGULAR, b"\0": REGULAR, b"7": REGULAR, b"S": REGULAR, b"1": LINK, b"2": SYMLINK, b"3": CHARACTER,
    b"4": BLOCK_DEVICE, b"5": DIRECTORY, b"6": FIFO,
}  # fmt: skip


class TarError(ValueError):
    """The stream is no tar archive, or is damaged."""


@dataclass(slots=True)
class TarEntry:
    """One entry. `size` is the payload's in the archive; `sparse` are (offset, size) pieces of a file of `real_size`."""

    kind: str
    name: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    link: str
    major: int
    minor: int
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    sparse: list[tuple[int, int]] | None = None
    real_size: int = 0


class Input:
    """Bytes of an archive in order; `position` is how many were taken. What is not a file's payload also goes to `raw`."""

    def __init__(self, pieces: Iterator[bytes], raw: Callable[[bytes | memoryview], object]) -> None:
        self._pieces = pieces
        self._view = memoryview(b"")
        self._raw = raw
        self.position = 0

    def _fill(self) -> bool:
        for piece in self._pieces:
            if piece:
                self._view = memoryview(piece)
                return True
        return False

    def header(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer at the end; they count as raw."""
        if len(self._view) >= size:
            data = bytes(self._view[:size])
            self._view = self._view[size:]
            self.position += size
        else:
            data = b"".join(self.payload(size, is_whole=False))
        self._raw(data)
        return data

    def payload(self, size: int, *, is_whole: bool = True) -> Iterator[memoryview]:
        """Yield the next `size` bytes. Raises TarError when they are not there."""
        while size:
            if not self._view and not self._fill():
                if is_whole:
                    raise TarError("it ends too early")
                return
            piece = self._view[:size]
            self._view = self._view[size:]
            size -= len(piece)
            self.position += len(piece)
            yield piece

    def skip(self, size: int) -> None:
        """Pass over `size` raw bytes."""
        while size:
            step = min(size, 1 << 20)
            if len(self.header(step)) < step:
                raise TarError("it ends too early")
            size -= step

    def rest(self) -> None:
        """Pass over all that follows."""
        while self.header(1 << 20):
            pass


def entries(source: Input) -> Iterator[TarEntry]:
    """Yield the entries; the payload of each must be read from `source`, padding included, before the next."""
    pax: dict[bytes, bytes] = {}
    common: dict[bytes, bytes] = {}
    long_name = long_link = None
    while True:
        block = source.header(BLOCK)
        if not block:
            return  # GNU tar too takes an archive without its end marker, and nothing at all for an empty one
        if len(block) < BLOCK:
            raise TarError("it ends too early")
        if not block.strip(b"\0"):
            return
        kind = block[156:157]
        size = _checked(block)
        if kind in b"xgLK" and kind:
            data = _extension(source, size)
            if kind == b"x":
                pax = _records(data)
            elif kind == b"g":
                common |= _records(data)
                if sum(len(key) + len(value) for key, value in common.items()) > LARGEST_EXTENSION_BYTES:
                    raise TarError("its global headers are too large")
            elif kind == b"L":
                long_name = data.partition(b"\0")[0]
            else:
                long_link = data.partition(b"\0")[0]
            continue
        records = {**common, **pax} if common else pax
        entry = _entry(block, kind, size, records, long_name, long_link)
        if kind == b"S":
            entry.sparse, entry.real_size = _old_sparse(block, source)
        elif b"GNU.sparse.major" in records or b"GNU.sparse.map" in records or b"GNU.sparse.size" in records:
            _pax_sparse(entry, records, source)
        yield entry
        pax, long_name, long_link = {}, None, None


def padding(size: int) -> int:
    """Return the bytes that fill a payload of `size` up to a whole block."""
    return -size % BLOCK


def _checked(block: bytes) -> int:
    """Check a header's sum and return its size field."""
    try:
        stated = int(block[148:156].strip(b"\0 ") or b"0", 8)
    except ValueError as error:
        raise TarError("an entry's header is damaged") from error
    if byte_sum(block) - byte_sum(block[148:156]) + 256 != stated:
        raise TarError("an entry's header has a wrong checksum")
    return _number(block[124:136])


def byte_sum(block: bytes) -> int:
    """Return the sum of the bytes of a block, as `sum` does, in a tenth of its time."""
    # the lower half of an Adler-32 is one more than the sum, modulo 65521, which 256 bytes can't reach (RFC 1950)
    return (zlib.adler32(block[:256]) & 0xFFFF) + (zlib.adler32(block[256:]) & 0xFFFF) - 2


def _number(data: bytes) -> int:
    """Return a numeric field: octal, or base 256 where its first bit is set (GNU)."""
    if data[-1] in _ENDS:
        try:
            return int(data[:-1], 8)
        except ValueError:  # by far the most are as they should be
            pass
    if data[0] & 0x80:
        value = int.from_bytes(data, "big") & ((1 << (8 * len(data) - 1)) - 1)
        return value if data[0] != 0xFF else value - (1 << (8 * len(data) - 1))
    try:
        return int(data.partition(b"\0")[0].strip() or b"0", 8)
    except ValueError as error:
        raise TarError("an entry's header has a number that is none") from error


def _extension(source: Input, size: int) -> bytes:
    if size > LARGEST_EXTENSION_BYTES:
        raise TarError("an entry's extended header is too large")
    data = source.header(size + padding(size))
    if len(data) < size:
        raise TarError("it ends too early")
    return data[:size]


def _records(data: bytes) -> dict[bytes, bytes]:
    """Return the records of a pax extended header; a repeated GNU.sparse.offset or .numbytes is joined by commas."""
    found: dict[bytes, bytes] = {}
    position = 0
    while position < len(data) and data[position]:
        space = data.find(b" ", position, position + 20)
        try:
            length = int(data[position:space])
        except ValueError as error:
            raise TarError("an extended header has no length") from error
        if space < 0 or length <= space - position or position + length > len(data):
            raise TarError("an extended header has a wrong length")
        key, _, value = data[space + 1 : position + length - 1].partition(b"=")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            known = found.get(b"GNU.sparse.map", b"")
            found[b"GNU.sparse.map"] = known + b"," + value if known else value
        else:
            found[key] = value
        position += length
    return found


def text(data: bytes) -> str:
    """Return a name, link or key of an archive as text; bytes that are no UTF-8 come through `encoded` as they are."""
    return data.decode("utf-8", "surrogateescape")


def encoded(text: str) -> bytes:
    """Return the bytes that `text` made a text of."""
    return text.encode("utf-8", "surrogateescape")


def _entry(
    block: bytes,
    kind: bytes,
    size: int,
    pax: Mapping[bytes, bytes],
    long_name: bytes | None,
    long_link: bytes | None,
) -> TarEntry:
    name = block[:100].partition(b"\0")[0]
    if block[257:263] == b"ustar\0" and block[345]:
        name = block[345:500].partition(b"\0")[0] + b"/" + name
    link = block[157:257].partition(b"\0")[0]
    mtime_ns = _number(block[136:148]) * 1_000_000_000
    uid, gid = _number(block[108:116]), _number(block[116:124])
    xattrs: dict[str, bytes] = {}
    if pax:
        name, link = pax.get(b"path", name), pax.get(b"linkpath", link)
        try:
            size, uid, gid = int(pax.get(b"size", size)), int(pax.get(b"uid", uid)), int(pax.get(b"gid", gid))
            if (time := pax.get(b"mtime")) is not None:
                whole, _, fraction = time.partition(b".")
                part = int((fraction + b"000000000")[:9])
                mtime_ns = int(whole) * 1_000_000_000 + (-part if whole.startswith(b"-") else part)
        except ValueError as error:
            raise TarError("an extended header has a number that is none") from error
        if size < 0:
            raise TarError("an entry has a negative size")
        xattrs = {text(key[len(XATTR) :]): value for key, value in pax.items() if key.startswith(XATTR)}
    name, link = long_name or name, long_link or link
    what = _KINDS.get(kind, OTHER)
    if what == REGULAR and name.endswith(b"/"):
        what = DIRECTORY  # as archives before POSIX have it
    if what in (LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO):
        size = 0
    major = minor = 0
    if what in (CHARACTER, BLOCK_DEVICE):
        major, minor = _number(block[329:337]), _number(block[337:345])
    mode = _number(block[100:108]) & 0o7777
    return TarEntry(what, text(name), mode, uid, gid, size, mtime_ns, text(link), major, minor, xattrs)


def _old_sparse(block: bytes, source: Input) -> tuple[list[tuple[int, int]], int]:
    """Return the pieces and the size of a sparse file in GNU's old format."""
    pieces: list[tuple[int, int]] = []

    def take(data: bytes, count: int) -> None:
        for position in range(0, 24 * count, 24):
            if data[position : position + 12].strip(b"\0 "):
                pieces.append((_number(data[position : position + 12]), _number(data[position + 12 : position + 24])))

    take(block[386:482], 4)
    is_extended, real_size = block[482], _number(block[483:495])
    while is_extended:
        more = source.header(BLOCK)
        if len(more) < BLOCK:
            raise TarError("it ends too early")
        take(more, 21)
        is_extended = more[504]
    return pieces, real_size


def _pax_sparse(entry: TarEntry, pax: Mapping[bytes, bytes], source: Input) -> None:
    """Take what pax headers say of a sparse file, in GNU's formats 0.0, 0.1 and 1.0."""
    try:
        if name := pax.get(b"GNU.sparse.name"):
            entry.name = text(name)
        entry.real_size = int(pax.get(b"GNU.sparse.realsize") or pax.get(b"GNU.sparse.size") or entry.size)
        if b"GNU.sparse.major" not in pax or pax[b"GNU.sparse.major"] == b"0":
            numbers = [int(one) for one in (pax.get(b"GNU.sparse.map") or b"").split(b",") if one]
        else:
            numbers = _sparse_map(entry, source)
    except ValueError as error:
        raise TarError("a sparse file's map can't be read") from error
    entry.sparse = list(zip(numbers[::2], numbers[1::2], strict=True))


def _sparse_map(entry: TarEntry, source: Input) -> list[int]:
    """Read the map at the beginning of the payload: decimal lines, filled up to a block (format 1.0)."""
    data = b""
    while True:
        lines = data.split(b"\n")
        if len(lines) > 1 and len(lines) - 1 > 2 * int(lines[0]):
            return [int(line) for line in lines[1 : 1 + 2 * int(lines[0])]]
        if entry.size < BLOCK or len(data) > LARGEST_EXTENSION_BYTES:
            raise ValueError
        data += source.header(BLOCK)
        entry.size -= BLOCK
