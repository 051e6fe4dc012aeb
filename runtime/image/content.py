"""Content by digest: blobs as files, verified while they are written, whole or not there (OCI image layout)."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from runtime.errors import BadRequestError, NotFoundError
from runtime.linux.durability import sync_file
from runtime.paths import Paths

PARTIAL = "partial"
"""Directory, next to the blobs, of those that are not whole yet."""
MOST_PARTIAL_BYTES = 1 << 30
"""How much of them is kept for pulls that go on."""


class BlobWriter:
    """A blob that grows: counts and digests what is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview) -> int:
        """Append `data`."""
        self._hash.update(data)
        self.size += len(data)
        return self._file.write(data)

    @property
    def digest(self) -> str:
        """The digest of what was written so far."""
        return f"sha256:{self._hash.hexdigest()}"


class Partial:
    """A blob on its way: kept when its transfer breaks off, so that the next one goes on; a blob only when whole."""

    def __init__(self, path: Path, target: Path, digest: str) -> None:
        self._path = path
        self._target = target
        self._digest = digest
        self._file = open(path, "a+b")  # noqa: SIM115 - closed by `close`
        self._hash = hashlib.sha256()
        self._file.seek(0)
        while data := self._file.read(1 << 20):
            self._hash.update(data)
        self.size = self._file.tell()

    def write(self, data: bytes | bytearray) -> None:
        """Append `data`. Blocking."""
        self._hash.update(data)
        self._file.write(data)
        self.size += len(data)

    def restart(self) -> None:
        """Start over: what is here is of no use."""
        self._file.seek(0)
        self._file.truncate()
        self._hash = hashlib.sha256()
        self.size = 0

    def commit(self) -> None:
        """Make it a blob. Blocking. Raises BadRequestError, and keeps nothing, when its digest is another."""
        found = f"sha256:{self._hash.hexdigest()}"
        if found != self._digest:
            self.discard()
            raise BadRequestError(
                f"blob has digest {found}, not {self._digest}", "it was damaged on its way: try again"
            )
        self._file.flush()
        os.fsync(self._file.fileno())
        self._target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(self._path, self._target)
        sync_file(self._target.parent)

    def discard(self) -> None:
        """Remove what is here."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; what it holds stays for the next transfer."""
        self._file.close()


class ContentStore:
    """The blobs of one state root."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def path(self, digest: str) -> Path:
        """Return where the blob of `digest` is, or would be."""
        algorithm, _, encoded = digest.partition(":")
        if algorithm != "sha256" or len(encoded) != 64 or not encoded.isalnum():
            raise BadRequestError(f"digest {digest} is not sha256:<64 hex digits>")
        return self._paths.blobs / algorithm / encoded

    def has(self, digest: str) -> bool:
        """Whether the blob of `digest` is here."""
        return self.path(digest).exists()

    def read(self, digest: str) -> bytes:
        """Return a small blob whole. Raises NotFoundError."""
        try:
            return self.path(digest).read_bytes()
        except FileNotFoundError:
            raise NotFoundError(f"blob {digest} is missing", "pull or load the image again") from None

    def put(self, data: bytes) -> str:
        """Store `data`; return its digest."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if not self.has(digest):
            with self.write(digest) as writer:
                writer.write(data)
        return digest

    @contextmanager
    def write(self, expected: str | None = None) -> Iterator[BlobWriter]:
        """Give a writer whose content becomes a blob when the block ends well and its digest is the `expected` one."""
        self._paths.tmp.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self._paths.tmp, prefix="blob-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                writer = BlobWriter(file)
                yield writer
                file.flush()
                os.fsync(descriptor)
            if expected is not None and writer.digest != expected:
                raise BadRequestError(
                    f"blob has digest {writer.digest}, not {expected}", "it was damaged on its way: try again"
                )
            target = self.path(writer.digest)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(name, target)
            sync_file(target.parent)
        finally:
            Path(name).unlink(missing_ok=True)

    @contextmanager
    def digest(self) -> Iterator[BlobWriter]:
        """Give a writer that only counts and digests."""
        with open(os.devnull, "wb") as nowhere:
            yield BlobWriter(nowhere)

    @property
    def partials(self) -> Path:
        """The directory of blobs that are not whole yet."""
        directory = self._paths.blobs / PARTIAL
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def partial(self, digest: str) -> Partial:
        """Open what was fetched of the blob `digest` so far, to go on from there. Blocking."""
        target = self.path(digest)
        return Partial(self.partials / target.name, target, digest)

    def trim_partials(self, in_use: Collection[str] = (), most_bytes: int = MOST_PARTIAL_BYTES) -> int:
        """Remove what nobody has gone on with for longest, until `most_bytes` are left; return the bytes that frees.

        Those of the digests `in_use` stay. Blocking.
        """
        found = [(file.lstat(), file) for file in self.partials.iterdir() if f"sha256:{file.name}" not in in_use]
        kept, freed = 0, 0
        for info, file in sorted(found, key=lambda one: one[0].st_mtime_ns, reverse=True):
            kept += info.st_size
            if kept > most_bytes:
                file.unlink(missing_ok=True)
                freed += info.st_size
        return freed

    def delete(self, digest: str) -> int:
        """Remove the blob of `digest`; return the bytes that frees."""
        path = self.path(digest)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return 0
        path.unlink()
        return size
