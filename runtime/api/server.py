"""Accepts clients, dispatches requests to their handlers, converts errors to answers."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from runtime.api import buildkit, versions
from runtime.api.connection import ClientConnection, Closed, is_preface
from runtime.api.intake import Intake, IntakeLimits
from runtime.api.request import REASONS, Request
from runtime.api.routes import ROUTES
from runtime.api.versions import HIGHEST, LOWEST
from runtime.engine.background import log
from runtime.errors import (
    BadRequestError,
    EngineError,
    NotFoundError,
    SkiffError,
    UnavailableError,
    first_error,
)
from runtime.exhausted import check_connection, exhaustion_error
from runtime.http.codec import ProtocolError
from runtime.space import disk_full_error

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from runtime.engine.engine import Engine

Handler = Callable[["Engine", Request], Awaitable[None]]
PAUSE_S = 0.1
MAX_AT_ONCE = 64
_VERSION = re.compile(r"/v(\d+)\.(\d+)(?=/)")


@dataclass(eq=False)
class _Server:
    """State that the connections of one server share."""

    engine: Engine
    routes: Sequence[tuple[str, re.Pattern[str], Handler]]
    intake: Intake
    connections: int = 0


async def serve(engine: Engine, listener: socket.socket, limits: IntakeLimits | None = None) -> None:
    """Serve `engine` on a listening, non-blocking socket until cancelled."""
    routes = [(method, re.compile(pattern), handler) for method, pattern, handler in ROUTES]
    server = _Server(engine, routes, Intake(limits or IntakeLimits()))
    has_failed = False
    while True:
        await anyio.wait_readable(listener)
        try:
            # several at once: the backlog is short, and connect(2) of non-blocking clients fails with EAGAIN if it is full
            for _ in range(MAX_AT_ONCE):
                peer, _ = listener.accept()
                has_failed = False
                _admit(server, peer)
        except BlockingIOError:
            continue
        except OSError as error:
            # most likely no descriptor is left: clients wait in the backlog
            if not has_failed:
                logger.error("connections can't be accepted: %s", exhaustion_error(error) or error)
            has_failed = True
            await anyio.sleep(PAUSE_S)


def _admit(server: _Server, peer: socket.socket) -> None:
    """Serve a connection, or refuse it if there are too many."""
    try:
        _check_room(server, peer)
    except UnavailableError as error:
        _refuse_connection(peer, error)
        return
    server.connections += 1  # not in the task, which starts later: more connections may be accepted before
    server.engine.background.start_soon(_serve_connection, server, peer)


def _check_room(server: _Server, peer: socket.socket) -> None:
    """Raise UnavailableError if there are too many connections or descriptors."""
    most = server.intake.limits.connections
    if server.connections >= most:
        raise UnavailableError(
            f"the engine already serves {most} connections, which is its limit",
            "close some of them, or try again later",
        )
    check_connection(peer.fileno())


def _refuse_connection(peer: socket.socket, error: UnavailableError) -> None:
    """Answer with an error without reading the request."""
    with peer, suppress(OSError):
        peer.setblocking(False)
        peer.send(_last_answer(error.status, str(error)))


async def _serve_connection(server: _Server, peer: socket.socket) -> None:
    try:
        with peer:
            connection = ClientConnection(peer, server.intake)
            try:
                await _serve_requests(server, connection)
            finally:
                connection.close_descriptors()
    finally:
        server.connections -= 1


async def _serve_requests(server: _Server, connection: ClientConnection) -> None:
    try:
        while (head := await connection.next_head()) is not None:
            if is_preface(head):
                with server.engine.busy():
                    await buildkit.serve_http2(server.engine, connection)
                return
            request = Request(connection, head, server.engine.store.flush)
            with server.engine.busy():
                await _answer(server, request)
            connection.close_descriptors()
            if not await request.drain():
                return
    except (ProtocolError, EngineError) as error:
        # a malformed or incomplete request: the connection can't be used further
        with suppress(Closed):
            await connection.send(_last_answer(error.status, str(error)))
    except Closed:
        return


def _last_answer(status: int, reason: str) -> bytes:
    """Return the whole answer to a malformed request."""
    text = f"{reason}\n".encode()
    return (
        f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n"
    ).encode() + text


async def _answer(server: _Server, request: Request) -> None:
    engine = server.engine
    logger.debug("%s %s", request.method, request.path)
    try:
        await _find(request, server.routes)(engine, request)
    except* Closed:
        request.keeps_alive = False
    except* SkiffError as group:
        error = first_error(group)
        await _refuse(request, exhaustion_error(error) or error)
    except* Exception as group:  # noqa: BLE001 - a bug is answered and logged, and does not stop the engine
        await _refuse(request, _unexpected(engine, first_error(group)))


def _unexpected(engine: Engine, error: BaseException) -> SkiffError:
    """Return the error for a client after an unexpected exception: an exhausted resource, or a bug, which is logged."""
    if (known := disk_full_error(error, engine.paths) or exhaustion_error(error)) is not None:
        return known
    log(error)
    return SkiffError(f"internal error: {error}", f"see the engine's log: {engine.paths.engine_log}")


async def _refuse(request: Request, error: BaseException) -> None:
    if request.has_answered:
        request.keeps_alive = False
        return
    known = error if isinstance(error, SkiffError) else SkiffError(str(error))
    status = known.status if isinstance(known, EngineError) else 500
    try:
        if status == 304:
            await request.answer(304)
        else:
            await request.answer(status, known.document())
    except Closed:
        request.keeps_alive = False


def _find(request: Request, routes: Sequence[tuple[str, re.Pattern[str], Handler]]) -> Handler:
    match = _VERSION.match(request.path)
    if match is not None:
        version = (int(match[1]), int(match[2]))
        request.version, request.names_version = version, True
        if version > HIGHEST:
            raise BadRequestError(
                f"client version {match[1]}.{match[2]} is too new. "
                f"Maximum supported API version is {versions.shown(HIGHEST)}"
            )
        if version < LOWEST:
            raise BadRequestError(
                f"client version {match[1]}.{match[2]} is too old. "
                f"Minimum supported API version is {versions.shown(LOWEST)}, please upgrade your client to a newer version"
            )
        request.path = request.path[match.end() :]
    for method, pattern, handler in routes:
        found = pattern.fullmatch(request.path)
        if found and method == request.method:
            request.arguments = found.groups()
            return handler
    raise NotFoundError("page not found")
