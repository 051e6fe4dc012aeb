"""Compressed streams, recognised by their first bytes: gzip, bzip2, xz, zstd."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator
from typing import IO, BinaryIO, cast

from runtime.errors import BadRequestError

READ_BYTES = 1 << 18
PIECE_BYTES = 1 << 20
GZIP, BZIP2, XZ, ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"
SKIPPABLE = b"\x2a\x4d\x18"
"""What follows the first byte, 0x50 to 0x5f, of a skippable frame."""


class CompressionError(ValueError):
    """The stream is damaged or ends too early."""


def _is_zstd(magic: bytes) -> bool:
    """Whether a stream begins as one of zstd: with a frame, or with one to skip (RFC 8878, section 3.1.2)."""
    # parallel compressors and zstd:chunked write such frames, to show their own readers where the others are
    return magic.startswith(ZSTD) or (magic[1:4] == SKIPPABLE and magic[0] & 0xF0 == 0x50)


def is_compressed(source: IO[bytes]) -> bool:
    """Return whether `source` (seekable, at its beginning) is a stream that `decoded` changes."""
    magic = source.read(len(XZ))
    source.seek(0)
    return magic.startswith((GZIP, BZIP2, XZ)) or _is_zstd(magic)


def decoded(source: BinaryIO) -> Iterator[bytes]:
    """Yield what `source` holds, uncompressed, in pieces of about a mebibyte. Raises CompressionError."""
    magic = source.read(len(XZ))
    if source.seekable():
        source.seek(0)
    else:
        source = cast(BinaryIO, _Begun(magic, source))
    if magic.startswith(GZIP):
        return _gunzip(source)
    if magic.startswith(BZIP2):
        return _bunzip(source)
    if magic == XZ:
        return _unxz(source)
    if _is_zstd(magic):
        return _unzstd(source)
    return iter(lambda: source.read(PIECE_BYTES), b"")


class _Begun:
    """A stream of which the first bytes were read already."""

    def __init__(self, first: bytes, source: BinaryIO) -> None:
        self._first = first
        self._source = source

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes."""
        if self._first:
            data, self._first = self._first[:size], self._first[size:]
            return data
        return self._source.read(size)

    def readable(self) -> bool:
        """Whether it can be read: it can."""
        return True


def _gunzip(source: BinaryIO) -> Iterator[bytes]:
    decoder = zlib.decompressobj(wbits=31)
    while data := source.read(READ_BYTES):
        while data:
            try:
                if piece := decoder.decompress(data, PIECE_BYTES):
                    yield piece
            except zlib.error as error:
                raise CompressionError(f"its gzip stream is damaged: {error}") from error
            data = decoder.unconsumed_tail
            if decoder.eof:
                # several members may follow each other (RFC 1952, section 2.2), and zeros as padding
                data = decoder.unused_data.lstrip(b"\0")
                decoder = zlib.decompressobj(wbits=31)
                if not data and not (data := source.read(READ_BYTES).lstrip(b"\0")):
                    return
    raise CompressionError("its gzip stream ends too early")


def _bunzip(source: BinaryIO) -> Iterator[bytes]:
    import bz2

    with bz2.BZ2File(source) as file:
        try:
            yield from iter(lambda: file.read(PIECE_BYTES), b"")
        except (OSError, EOFError, ValueError) as error:
            raise CompressionError(f"its bzip2 stream is damaged: {error}") from error


def _unxz(source: BinaryIO) -> Iterator[bytes]:
    with lzma.LZMAFile(source) as file:
        try:
            yield from iter(lambda: file.read(PIECE_BYTES), b"")
        except (lzma.LZMAError, EOFError) as error:
            raise CompressionError(f"its xz stream is damaged: {error}") from error


def _unzstd(source: BinaryIO) -> Iterator[bytes]:
    """Decode by the system's libzstd, which Debian's own package tools need and therefore bring."""
    import ctypes

    try:
        library = ctypes.CDLL("libzstd.so.1")
    except OSError as error:
        raise BadRequestError(
            "the layer is compressed with zstd, and this machine has no libzstd",
            "install it: `apt-get install libzstd1`",
        ) from error

    class Buffer(ctypes.Structure):
        _fields_ = (("at", ctypes.c_void_p), ("size", ctypes.c_size_t), ("position", ctypes.c_size_t))

    library.ZSTD_createDStream.restype = ctypes.c_void_p
    library.ZSTD_freeDStream.argtypes = (ctypes.c_void_p,)
    library.ZSTD_decompressStream.argtypes = (ctypes.c_void_p, ctypes.POINTER(Buffer), ctypes.POINTER(Buffer))
    library.ZSTD_decompressStream.restype = ctypes.c_size_t
    library.ZSTD_isError.argtypes = (ctypes.c_size_t,)
    decoder = library.ZSTD_createDStream()
    memory = ctypes.create_string_buffer(PIECE_BYTES)
    is_open = False
    try:
        while data := source.read(READ_BYTES):
            taken = Buffer(ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p), len(data), 0)
            while True:
                given = Buffer(ctypes.cast(memory, ctypes.c_void_p), PIECE_BYTES, 0)
                left = library.ZSTD_decompressStream(decoder, ctypes.byref(given), ctypes.byref(taken))
                if library.ZSTD_isError(left):
                    raise CompressionError("its zstd stream is damaged")
                is_open = left != 0
                if given.position:
                    yield ctypes.string_at(memory, given.position)
                if taken.position == taken.size and given.position < PIECE_BYTES:
                    break
    finally:
        library.ZSTD_freeDStream(decoder)
    if is_open:
        raise CompressionError("its zstd stream ends too early")
