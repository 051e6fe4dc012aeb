"""Routes over which BuildKit's gRPC API is reached: the connection is given over to HTTP/2 (Docker Engine API, "Session")."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from runtime.api.connection import Closed, Connection
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
    """A hijacked connection, as HTTP/2 needs it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def receive(self) -> bytes:
        data = bytes(self._connection.buffer)
        self._connection.buffer.clear()
        return data or await self._connection.receive()

    async def send(self, data: bytes) -> None:
        await self._connection.send(data)


async def _given_over(request: Request) -> _Transport:
    """Answer as the client expects, and give its connection over to HTTP/2."""
    if request.headers.get("upgrade", "").lower() != "h2c":
        raise BadRequestError("this is spoken over HTTP/2 alone: ask for an upgrade to h2c")
    connection = await request.upgrade({"Connection": "Upgrade", "Upgrade": "h2c"})
    return _Transport(connection)


async def grpc(engine: Engine, request: Request) -> None:
    """Serve BuildKit's services to the client."""
    await _serve(engine, await _given_over(request))


async def serve_http2(engine: Engine, connection: Connection) -> None:
    """Serve BuildKit's services to a client that speaks HTTP/2 from its first byte; the preface's head was read."""
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
        pass  # the client is gone, as it may be at any time


async def session(engine: Engine, request: Request) -> None:
    """Take the client as one who is asked for files, secrets and credentials while it builds."""
    from runtime.buildkit.http2 import Http2
    from runtime.buildkit.sessions import UUID, Session

    if not request.headers.get(UUID):
        raise BadRequestError(f"a session needs its ID in the header {UUID}")
    control = engine_control(engine)
    transport = await _given_over(request)
    connection = Http2(transport, is_client=True)
    try:
        async with control.sessions.open(Session(request.headers, connection)):
            await connection.run()
    except* Closed:
        pass  # the client is gone, as it may be at any time


async def build(engine: Engine, request: Request, options: BuildOptions) -> None:
    """Answer "Build an image" for a client that serves its files in a session (`version=2`)."""
    control = engine_control(engine)
    session, ref = request.text("session") or "", request.text("buildid") or ""
    if not session:
        raise BadRequestError("a build of version 2 needs the ID of its client's session")
    await request.stream(partial(control.build, ref, session, options), encode=line, waits=True)


def drop_contexts(engine: Engine) -> None:
    """Remove the kept directories of clients, but for those that builds read now."""
    if (control := engine.extensions.get(EXTENSION)) is not None:
        control.drop_contexts()
    else:  # nobody has built this way since the engine started, so nothing is read
        engine.trash.throw(engine.paths.build_contexts)


def engine_control(engine: Engine) -> Control:
    """Return what serves BuildKit's API for `engine`; made for the first client that speaks it."""
    if EXTENSION not in engine.extensions:
        from runtime.buildkit.control import Control

        engine.extensions[EXTENSION] = Control(engine)
    found: Control = engine.extensions[EXTENSION]
    return found
