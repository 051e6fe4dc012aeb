"""What it takes to write a layer's archive again to the byte: all of it but the files' contents, which the layer has.

An image keeps its ID through `save` and `push` only if its layers keep theirs, and those are digests of archives.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import IO

from runtime.errors import InternalError

_RECORD = struct.Struct("<cQ")
_RAW, _FILE = b"R", b"F"
COPY_BYTES = 1 << 20
FASTEST = 1


class AssemblyWriter:
    """Takes an archive's bytes in order: `raw` ones are kept, of payloads only the file they went to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open(path, "wb")  # noqa: SIM115 - closed by `close`
        self._encoder = zlib.compressobj(FASTEST)
        self._pending = bytearray()
        self.is_exact = True
        """False once a payload can't be found again in the layer: then nothing is kept."""

    def raw(self, data: bytes | memoryview) -> None:
        """Take bytes that are no file's payload."""
        self._pending += data

    def file(self, relative: str, size: int) -> None:
        """Take the payload of `size` bytes that went to the file `relative`."""
        self._flush()
        name = os.fsencode(relative)
        self._write(_RECORD.pack(_FILE, size) + struct.pack("<H", len(name)) + name)

    def _flush(self) -> None:
        if self._pending:
            self._write(_RECORD.pack(_RAW, len(self._pending)))
            self._write(self._pending)
            self._pending = bytearray()

    def _write(self, data: bytes | bytearray) -> None:
        self._file.write(self._encoder.compress(data))

    def close(self) -> None:
        """Finish."""
        self._flush()
        with self._file:
            self._file.write(self._encoder.flush())
        if not self.is_exact:
            self._path.unlink()


def assemble(assembly: Path, directory: Path, out: IO[bytes]) -> None:
    """Write the archive of the layer in `directory` to `out`. Blocking. Raises InternalError when a file was changed."""
    with open(assembly, "rb") as file:
        source = _Inflated(file)
        while header := source.read(_RECORD.size):
            kind, size = _RECORD.unpack(header)
            if kind == _RAW:
                while size:
                    data = source.read(min(size, COPY_BYTES))
                    out.write(data)
                    size -= len(data)
                continue
            (length,) = struct.unpack("<H", source.read(2))
            _copy(directory / os.fsdecode(source.read(length)), size, out)


def _copy(path: Path, size: int, out: IO[bytes]) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _changed(path) from error
    with open(descriptor, "rb", buffering=0) as file:
        while size:
            data = file.read(min(size, COPY_BYTES))
            if not data:
                raise _changed(path)
            out.write(data)
            size -= len(data)


def _changed(path: Path) -> InternalError:
    return InternalError(
        f"the layer's file {path} was changed or removed", "remove the image, and pull or load it again"
    )


class _Inflated:
    """Reads the compressed records."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder = zlib.decompressobj()
        self._buffer = bytearray()

    def read(self, size: int) -> bytes:
        """Return `size` bytes; none at the end."""
        while len(self._buffer) < size and (data := self._file.read(1 << 16)):
            self._buffer += self._decoder.decompress(data)
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        if data and len(data) < size:
            raise InternalError("the layer's assembly is damaged", "remove the image, and pull or load it again")
        return data
