"""Routes for BuildKit's gRPC API: the connection is upgraded to HTTP/2 (Docker Engine API, "Session")."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from runtime.api.connection import ClientConnection, Closed
from runtime.api.request import Request, line
from runtime.build.options import BuildOptions
from runtime.engine.background import log
from runtime.engine.engine import Engine
from runtime.errors import BadRequestError

if TYPE_CHECKING:
    from runtime.buildkit.control import Control


EXTENSION = "buildkit"
PREFACE = b"PRI * HTTP/2.0\r\n\r\n"


class _Transport:
    """A hijacked connection with the interface that `Http2` needs."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def receive(self) -> bytes:
        data = bytes(self._connection.buffer)
        self._connection.buffer.clear()
        return data or await self._connection.receive()

    async def send(self, data: bytes) -> None:
        await self._connection.send(data)


async def _upgrade(request: Request) -> _Transport:
    """Switch the connection to HTTP/2."""
    if request.headers.get("upgrade", "").lower() != "h2c":
        raise BadRequestError("this route needs HTTP/2: ask for an upgrade to h2c")
    connection = await request.upgrade({"Connection": "Upgrade", "Upgrade": "h2c"})
    return _Transport(connection)


async def grpc(engine: Engine, request: Request) -> None:
    """Serve BuildKit's services to the client."""
    await _serve(engine, await _upgrade(request))


async def serve_http2(engine: Engine, connection: ClientConnection) -> None:
    """Serve BuildKit's services to a client that uses HTTP/2 from the first byte; PREFACE has been read."""
    connection.buffer[:0] = PREFACE
    await _serve(engine, _Transport(connection))


async def _serve(engine: Engine, transport: _Transport) -> None:
    from runtime.buildkit.http2 import Http2
    from runtime.buildkit.rpc import Server

    server = Server(engine_control(engine).methods, log)
    connection = server.connection = Http2(transport, is_client=False, serve=server.serve)
    try:
        await connection.run()
    except* Closed:
        pass  # the client has disconnected


async def session(engine: Engine, request: Request) -> None:
    """Answer "Initialize interactive session": the client serves files, secrets and credentials for a build."""
    from runtime.buildkit.http2 import Http2
    from runtime.buildkit.sessions import UUID, Session

    if not request.headers.get(UUID):
        raise BadRequestError(f"a session needs its ID in the header {UUID}")
    control = engine_control(engine)
    transport = await _upgrade(request)
    connection = Http2(transport, is_client=True)
    try:
        async with control.sessions.open(Session(request.headers, connection)):
            await connection.run()
    except* Closed:
        pass  # the client has disconnected


async def build(engine: Engine, request: Request, options: BuildOptions) -> None:
    """Answer "Build an image" for a client that serves its files in a session (`version=2`)."""
    control = engine_control(engine)
    session, ref = request.text("session") or "", request.text("buildid") or ""
    if not session:
        raise BadRequestError("a build with version=2 needs the ID of its client's session")
    await request.stream(partial(control.build, ref, session, options), encode=line, waits=True)


def drop_contexts(engine: Engine) -> None:
    """Remove stored build contexts of clients, except those that running builds use."""
    if (control := engine.extensions.get(EXTENSION)) is not None:
        control.drop_contexts()
    else:  # no such build since the engine's start, so none is in use
        engine.trash.throw(engine.paths.build_contexts)


def engine_control(engine: Engine) -> Control:
    """Return the engine's server of BuildKit's API, created for the first client that uses it."""
    if EXTENSION not in engine.extensions:
        from runtime.buildkit.control import Control

        engine.extensions[EXTENSION] = Control(engine)
    found: Control = engine.extensions[EXTENSION]
    return found
