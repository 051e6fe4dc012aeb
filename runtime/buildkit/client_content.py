"""Content stores that a build's client serves: directories of its own with blobs by digest (OCI image layout).

`--cache-to type=local`, `--cache-from type=local` and contexts of `oci-layout://` are such. The service is containerd's
`containerd.services.content.v1.Content`; the client writes `index.json` of a directory itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any

from runtime.buildkit.rpc import ALREADY_EXISTS, NOT_FOUND, UNKNOWN, ClientCall, RpcError, ask, calling
from runtime.buildkit.schema import message
from runtime.buildkit.sessions import Session
from runtime.errors import BadRequestError, NotFoundError
from runtime.image.manifest import Descriptor, parse
from runtime.image.reference import Reference
from runtime.image.registry import LARGEST_MANIFEST_BYTES, Found
from runtime.image.registry_auth import constant
from runtime.image.registry_http import Body

PACKAGE = "containerd.services.content.v1"
SERVICE = f"/{PACKAGE}.Content"
STORE_ID = "buildkit-attachable-store-id"
"""The header that says which of its stores the client is asked about."""
STAT, WRITE, COMMIT = range(3)
PIECE_BYTES = 1 << 20


class ClientContent:
    """The store `name` of a client, as a source and a target of images (see `runtime.image.exchange`).

    The paths of references mean nothing here: blobs are known by their digests alone.
    """

    def __init__(self, session: Session, name: str) -> None:
        """Raises RpcError where the client serves no stores."""
        self._connection = session.connection
        self._metadata = [(STORE_ID, name)]
        self.domain = name.partition(":")[2]
        if not session.serves(f"{SERVICE}/Info"):
            raise RpcError(UNKNOWN, f"the build's client does not serve the content of {self.domain}")

    # --- reading

    async def _size(self, digest: str) -> int | None:
        """Return the size of a blob, None where it is not there. Raises RpcError."""
        request = message(f"{PACKAGE}.InfoRequest")(digest=digest)
        try:
            answer = await ask(
                self._connection, f"{SERVICE}/Info", request, f"{PACKAGE}.InfoResponse", metadata=self._metadata
            )
        except RpcError as error:
            if error.code == NOT_FOUND:
                return None
            raise
        return int(answer.info.size)

    async def manifest(self, reference: Reference) -> Found:
        """Return the manifest or index whose digest `reference` has. Raises RpcError, NotFoundError, BadRequestError."""
        digest = reference.digest or ""
        size = await self._size(digest)
        if size is None:
            raise NotFoundError(f"{self.domain} has no blob {digest}", "write the directory again: it is incomplete")
        raw = await self.small_blob("", Descriptor("", digest, size), LARGEST_MANIFEST_BYTES)
        parsed = parse(raw, "")
        return Found(raw, digest, json.loads(raw).get("mediaType") or "", parsed)

    async def blob(self, path: str, descriptor: Descriptor, offset: int = 0) -> ClientBlob:
        """Begin to read a blob from byte `offset` on."""
        request = message(f"{PACKAGE}.ReadContentRequest")(digest=descriptor.digest, offset=offset)
        stack = AsyncExitStack()
        call = await stack.enter_async_context(calling(self._connection, f"{SERVICE}/Read", self._metadata))
        return ClientBlob(stack, call, request)

    async def small_blob(self, path: str, descriptor: Descriptor, most: int) -> bytes:
        """Return a blob of at most `most` bytes whole. Raises RpcError, BadRequestError for other content."""
        data = bytearray()
        async with await self.blob(path, descriptor) as blob:
            async for piece in blob.chunks():
                data += piece
                if len(data) > most:
                    raise BadRequestError(f"blob {descriptor.digest} of {self.domain} is larger than any such document")
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != descriptor.digest:
            raise BadRequestError(f"blob {descriptor.digest} of {self.domain} has other content", "it is damaged")
        return bytes(data)

    # --- writing

    async def has_blob(self, path: str, digest: str) -> bool:
        """Whether the store has the blob. Raises RpcError."""
        return await self._size(digest) is not None

    async def mount(self, path: str, digest: str, source: str) -> bool:
        """There are no other repositories in a store."""
        return False

    async def upload(self, path: str, descriptor: Descriptor, body: Body) -> None:
        """Write a blob. Raises RpcError."""
        kind = message(f"{PACKAGE}.WriteContentRequest")
        about = {"ref": f"upload-{descriptor.digest}", "total": descriptor.size, "expected": descriptor.digest}
        try:
            async with calling(self._connection, f"{SERVICE}/Write", self._metadata) as call:
                offset = 0
                async for data in body():
                    for start in range(0, len(data), PIECE_BYTES):
                        piece = data[start : start + PIECE_BYTES]
                        # each says where it belongs: what an upload left that broke off is written over
                        await _answered(call, kind(action=WRITE, offset=offset, data=piece, **about))
                        offset += len(piece)
                await _answered(call, kind(action=COMMIT, offset=offset, **about))
                await call.end()
        except RpcError as error:
            if error.code != ALREADY_EXISTS:
                raise

    async def put_manifest(self, reference: Reference, raw: bytes, media_type: str) -> None:
        """Write a manifest. Raises RpcError."""
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        if not await self.has_blob("", digest):
            await self.upload("", Descriptor(media_type, digest, len(raw)), constant(raw))


async def _answered(call: ClientCall, request: Any) -> None:
    await call.send(request)
    if await call.receive(f"{PACKAGE}.WriteContentResponse") is None:
        raise RpcError(UNKNOWN, "the build's client ended a blob before it was complete")


class ClientBlob:
    """A blob that a client sends."""

    def __init__(self, stack: AsyncExitStack, call: ClientCall, request: Any) -> None:
        self._stack = stack
        self._call = call
        self._request = request

    def continues_at(self, offset: int) -> bool:
        """Whether what comes begins at byte `offset`: always, as it was asked for."""
        return bool(self._request.offset == offset)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the content. Raises RpcError."""
        await self._call.send(self._request)
        await self._call.end()
        while (answer := await self._call.receive(f"{PACKAGE}.ReadContentResponse")) is not None:
            yield answer.data

    async def __aenter__(self) -> ClientBlob:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)
