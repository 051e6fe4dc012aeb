"""Where images come from and go to: a registry, or a content store that a build's client serves. Interfaces alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from runtime.image.manifest import Descriptor
from runtime.image.reference import Reference

if TYPE_CHECKING:
    from runtime.image.registry import Found
    from runtime.image.registry_http import Body


class BlobTransfer(Protocol):
    """A blob that is being read; leaving the `async with` block ends that."""

    def continues_at(self, offset: int) -> bool:
        """Whether what comes begins at byte `offset` of the blob; otherwise the whole blob comes."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the content. Raises TransferError."""
        ...

    async def __aenter__(self) -> BlobTransfer: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class BlobSource(Protocol):
    """What images can be pulled from."""

    domain: str

    async def manifest(self, reference: Reference) -> Found:
        """Return the manifest or index that `reference` names. Raises EngineError."""
        ...

    async def blob(self, path: str, descriptor: Descriptor, offset: int = 0) -> BlobTransfer:
        """Begin to read a blob of the repository `path` from byte `offset` on. Raises EngineError."""
        ...

    async def small_blob(self, path: str, descriptor: Descriptor, most: int) -> bytes:
        """Return a blob of at most `most` bytes whole, its digest checked. Raises EngineError."""
        ...


class BlobTarget(Protocol):
    """What images can be pushed to."""

    async def has_blob(self, path: str, digest: str) -> bool:
        """Whether the repository `path` has the blob."""
        ...

    async def mount(self, path: str, digest: str, source: str) -> bool:
        """Have the blob taken over from the repository `source`; return whether it was."""
        ...

    async def upload(self, path: str, descriptor: Descriptor, body: Body) -> None:
        """Write a blob. Raises EngineError."""
        ...

    async def put_manifest(self, reference: Reference, raw: bytes, media_type: str) -> None:
        """Write the manifest `raw` under the reference's tag or digest. Raises EngineError."""
        ...
