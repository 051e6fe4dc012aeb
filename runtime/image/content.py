"""Content by digest: blobs as files, verified while they are written, whole or not there (OCI image layout)."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from runtime.errors import BadRequestError, NotFoundError
from runtime.paths import Paths


class Writer:
    """A blob that grows: counts and digests what is written."""

    def __init__(self, file: BinaryIO) -> None:
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
    def write(self, expected: str | None = None) -> Iterator[Writer]:
        """Give a writer whose content becomes a blob when the block ends well and its digest is the `expected` one."""
        self._paths.tmp.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self._paths.tmp, prefix="blob-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                writer = Writer(file)
                yield writer
                file.flush()
                os.fsync(descriptor)
            if expected is not None and writer.digest != expected:
                raise BadRequestError(
                    f"blob has digest {writer.digest}, not {expected}", "it was damaged on its way: try again"
                )
            target = self.path(writer.digest)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.chmod(name, 0o644)
            os.rename(name, target)
        finally:
            Path(name).unlink(missing_ok=True)

    def delete(self, digest: str) -> int:
        """Remove the blob of `digest`; return the bytes that frees."""
        path = self.path(digest)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return 0
        path.unlink()
        return size
