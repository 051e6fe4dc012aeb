"""gRPC over HTTP/2: calls served and made, and how they end (gRPC documentation, "gRPC over HTTP2")."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import quote, unquote

import anyio

from runtime.buildkit.http2 import Http2, Stream, StreamClosed
from runtime.buildkit.schema import message
from runtime.errors import SkiffError

OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS = 0, 1, 2, 3, 5, 6
UNIMPLEMENTED, UNAVAILABLE = 12, 14
CONTENT = ("content-type", "application/grpc")


class RpcError(SkiffError):
    """A call failed with a status; `status` is its google.rpc.Status where it has details."""

    def __init__(self, code: int, text: str, status: Any = None) -> None:
        super().__init__(text)
        self.code = code
        self.status = status if status is not None else message("google.rpc.Status")(code=code, message=text)


class Call:
    """One call as its server sees it."""

    def __init__(self, connection: Http2, stream: Stream) -> None:
        self._connection = connection
        self._stream = stream
        self.metadata = stream.headers

    async def receive(self, kind: str) -> Any:
        """Return the next message, of the type `kind`; None at the end."""
        data = await self._stream.receive()
        return None if data is None else message(kind).FromString(data)

    async def request(self, kind: str) -> Any:
        """Return the only message. Raises RpcError."""
        found = await self.receive(kind)
        if found is None:
            raise RpcError(INVALID_ARGUMENT, "the call has no message")
        return found

    async def send(self, answer: Any) -> None:
        """Send a message."""
        await self._stream.send(answer.SerializeToString())


Method = Callable[[Call], Awaitable[None]]


class Server:
    """A gRPC server of `methods`, by their paths."""

    def __init__(self, methods: Mapping[str, Method], log: Callable[[BaseException], None]) -> None:
        self._methods = methods
        self._log = log
        self.connection: Http2 | None = None

    async def serve(self, stream: Stream) -> None:
        """Serve one call."""
        assert self.connection is not None
        connection = self.connection
        method = self._methods.get(stream.headers.get(":path", ""))
        await connection.send_headers(stream, [(":status", "200"), CONTENT])
        status = message("google.rpc.Status")()
        try:
            if method is None:
                raise RpcError(UNIMPLEMENTED, f"{stream.headers.get(':path')} is not served by this engine")
            await method(Call(connection, stream))
        except StreamClosed:
            raise
        except RpcError as error:
            status = error.status
        except SkiffError as error:
            status = message("google.rpc.Status")(code=UNKNOWN, message=str(error))
        except Exception as error:  # noqa: BLE001 - a bug of ours ends its own call alone
            self._log(error)
            status = message("google.rpc.Status")(code=UNKNOWN, message=f"internal error: {error}")
        await connection.send_headers(stream, trailers(status), is_end=True)


def trailers(status: Any) -> list[tuple[str, str]]:
    """Return the trailers that carry a google.rpc.Status."""
    trailers = [("grpc-status", str(status.code))]
    if status.message:
        trailers.append(("grpc-message", quote(status.message, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")))
    if status.details:
        trailers.append(("grpc-status-details-bin", base64.b64encode(status.SerializeToString()).decode().rstrip("=")))
    return trailers


class ClientCall:
    """One call as its client sees it."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def send(self, request: Any) -> None:
        """Send a message."""
        await self._stream.send(request.SerializeToString())

    async def send_bytes(self, data: bytes) -> None:
        """Send a message that is written already."""
        await self._stream.send(data)

    async def end(self) -> None:
        """Say that no more messages follow."""
        await self._stream.end()

    async def receive(self, kind: str) -> Any:
        """Return the next message, None at the end. Raises RpcError where the call has failed."""
        data = await self.receive_bytes()
        return None if data is None else message(kind).FromString(data)

    async def receive_bytes(self) -> bytes | None:
        """Return the next message as it is, None at the end. Raises RpcError where the call has failed."""
        data = await self._stream.receive()
        if data is None and (code := int(self._stream.trailers.get("grpc-status") or 0)):
            raise RpcError(code, unquote(self._stream.trailers.get("grpc-message") or f"the call failed ({code})"))
        return data


@asynccontextmanager
async def calling(connection: Http2, path: str, metadata: Iterable[tuple[str, str]] = ()) -> AsyncIterator[ClientCall]:
    """Make a call, which is given up where the block leaves it unfinished. Raises RpcError."""
    headers = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"), CONTENT]
    try:
        stream = await connection.open([*headers, ("te", "trailers"), *metadata])
    except StreamClosed as error:
        raise RpcError(UNAVAILABLE, f"the client of the build is gone: {error}") from error
    try:
        yield ClientCall(stream)
    except StreamClosed as error:
        raise RpcError(UNAVAILABLE, f"the client of the build is gone: {error}") from error
    finally:
        with anyio.CancelScope(shield=True), suppress(StreamClosed, OSError):
            if stream.trailers:
                connection.forget(stream)
            else:
                await connection.reset(stream)


async def ask(
    connection: Http2, path: str, request: Any, answer: str, *, metadata: Iterable[tuple[str, str]] = ()
) -> Any:
    """Make a call with one message each way; return the answer, of the type `answer`. Raises RpcError."""
    async with calling(connection, path, metadata) as call:
        await call.send(request)
        await call.end()
        found = await call.receive(answer)
        if found is None:
            raise RpcError(UNKNOWN, f"{path} was not answered")
        while await call.receive_bytes() is not None:
            pass
        return found
