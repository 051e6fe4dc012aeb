"""Accepts clients, finds the route of each request, turns errors into answers."""

from __future__ import annotations

import re
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio

from runtime.api.connection import REASONS, Closed, Connection, Request
from runtime.api.routes import ROUTES
from runtime.engine.background import log
from runtime.errors import BadRequestError, EngineError, NotFoundError, SkiffError, first_error
from runtime.http.codec import ProtocolError
from runtime.space import told_as_full

if TYPE_CHECKING:
    from runtime.engine.engine import Engine

Handler = Callable[["Engine", Request], Awaitable[None]]
PAUSE_S = 0.1
LINGER_S = 2.0
HIGHEST, LOWEST = (1, 50), (1, 24)
_VERSION = re.compile(r"/v(\d+)\.(\d+)(?=/)")


async def serve(engine: Engine, listener: socket.socket) -> None:
    """Serve `engine` on a listening, non-blocking socket until cancelled."""
    routes = [(method, re.compile(pattern), handler) for method, pattern, handler in ROUTES]
    background = engine.background
    while True:
        await anyio.wait_readable(listener)
        try:
            peer, _ = listener.accept()
        except BlockingIOError:
            continue
        except OSError as error:
            # no descriptor is left, most likely: the client waits in the queue until one is
            log(error)
            await anyio.sleep(PAUSE_S)
            continue
        background.start_soon(_converse, engine, peer, routes)


async def _converse(engine: Engine, peer: socket.socket, routes: list[tuple[str, re.Pattern[str], Handler]]) -> None:
    with peer:
        connection = Connection(peer)
        try:
            while (request := await connection.next_request()) is not None:
                with engine.busy():
                    await _answer(engine, request, routes)
                if not request.keeps_alive:
                    if not request.is_hijacked:
                        # what is still on its way would break the connection before its end is told (RFC 9112, 9.6)
                        with anyio.move_on_after(LINGER_S):
                            await request.drain()
                    return
                await request.drain()
        except ProtocolError as error:
            await _refuse_bytes(connection, error)
        except (Closed, BadRequestError):
            return


async def _refuse_bytes(connection: Connection, error: ProtocolError) -> None:
    """Answer what is no request; nothing can follow it."""
    text = f"{error}\n".encode()
    head = f"HTTP/1.1 {error.status} {REASONS[error.status]}\r\nContent-Type: text/plain; charset=utf-8\r\n"
    try:
        await connection.send(f"{head}Content-Length: {len(text)}\r\nConnection: close\r\n\r\n".encode() + text)
    except Closed:
        return


async def _answer(engine: Engine, request: Request, routes: list[tuple[str, re.Pattern[str], Handler]]) -> None:
    try:
        await _find(request, routes)(engine, request)
    except* Closed:
        request.keeps_alive = False
    except* SkiffError as group:
        await _refuse(request, first_error(group))
    except* Exception as group:  # noqa: BLE001 - a bug of ours is answered and logged, it does not end the engine
        await _refuse(request, _told(engine, first_error(group)))


def _told(engine: Engine, error: BaseException) -> SkiffError:
    """Return what a client hears of an error that nobody expected: no room on a disk, or a bug, which is logged."""
    if (full := told_as_full(error, engine.paths)) is not None:
        return full
    log(error)
    return SkiffError(f"internal error: {error}", f"the engine's log has more: {engine.paths.engine_log}")


async def _refuse(request: Request, error: BaseException) -> None:
    if request.has_answered:
        request.keeps_alive = False
        return
    status = error.status if isinstance(error, EngineError) else 500
    try:
        if status == 304:
            await request.answer(304)
        else:
            await request.answer(status, {"message": str(error)})
    except Closed:
        request.keeps_alive = False


def _find(request: Request, routes: list[tuple[str, re.Pattern[str], Handler]]) -> Handler:
    match = _VERSION.match(request.path)
    if match is not None:
        version = (int(match[1]), int(match[2]))
        request.version = version
        if version > HIGHEST:
            raise BadRequestError(
                f"client version {match[1]}.{match[2]} is too new. "
                f"Maximum supported API version is {HIGHEST[0]}.{HIGHEST[1]}"
            )
        if version < LOWEST:
            raise BadRequestError(
                f"client version {match[1]}.{match[2]} is too old. "
                f"Minimum supported API version is {LOWEST[0]}.{LOWEST[1]}, please upgrade your client to a newer version"
            )
        request.path = request.path[match.end() :]
    for method, pattern, handler in routes:
        found = pattern.fullmatch(request.path)
        if found and method == request.method:
            request.arguments = found.groups()
            return handler
    raise NotFoundError(f"page not found: {request.method} {request.path}")
