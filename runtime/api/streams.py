"""Routes of containers' streams: logs, attach (Docker Engine API, "Attach", hijacking)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from runtime.api.connection import ClientConnection, Closed
from runtime.api.request import Request
from runtime.api.websocket import WebSocket
from runtime.container.logs.files import STDERR
from runtime.engine.containers.state import PAUSED, Container
from runtime.engine.streams.attach import Attachment, LogFrame
from runtime.engine.streams.detach import DetachKeys, parse_keys
from runtime.engine.streams.streams import check_readable
from runtime.errors import BadRequestError, ConflictError
from runtime.http import websocket
from runtime.http.codec import ProtocolError, frame_header
from runtime.streaming import pieces_of

if TYPE_CHECKING:
    from runtime.engine.engine import Engine

LONGEST_TAIL = 18
RAW, MULTIPLEXED = "application/vnd.docker.raw-stream", "application/vnd.docker.multiplexed-stream"


def _raw(frame: LogFrame) -> bytes:
    return frame.data


def _framed(frame: LogFrame) -> bytes:
    return frame_header(frame.stream or 1, len(frame.data)) + frame.data


def _framed_lines(frame: LogFrame) -> bytes:
    """Return a frame for each line: clients take what a frame of a log has for one (as Docker's log drivers keep it)."""
    stream = frame.stream or 1
    *lines, rest = frame.data.split(b"\n")
    framed = [frame_header(stream, len(line) + 1) + line + b"\n" for line in lines]
    return b"".join(framed) + (frame_header(stream, len(rest)) + rest if rest else b"")


async def logs(engine: Engine, request: Request) -> None:
    """Answer "Get container logs"."""
    container = engine.containers.find(request.arguments[0])
    stdout, stderr = request.flag("stdout"), request.flag("stderr")
    if not stdout and not stderr:
        raise BadRequestError("Bad parameters: you must choose at least one stream")
    is_attached = request.flag("attached")  # our extension: also works for a container with the log driver "none"
    if not is_attached:
        check_readable(container)
    tail = request.text("tail") or "all"
    frames = engine.streams.logs(
        container,
        stdout=stdout,
        stderr=stderr,
        follow=request.flag("follow"),
        since_ns=request.moment("since") or 0,
        until_ns=request.moment("until") or 0,
        timestamps=request.flag("timestamps"),
        tail=int(tail) if tail.isascii() and tail.isdigit() and len(tail) < LONGEST_TAIL else None,
        with_details=request.flag("details"),
        attached=is_attached,
    )
    # `pieces` is our own: a client that splits lines by itself
    framed = _framed if request.flag("pieces") else _framed_lines
    kind, encode = (RAW, _raw) if container.tty else (MULTIPLEXED, framed)
    await request.stream(pieces_of(frames), encode=encode, kind=kind)


async def attach(engine: Engine, request: Request) -> None:
    """Answer "Attach to a container"."""
    container, attachment, keys = _attachment(engine, request)
    connection = await request.hijack(RAW if container.tty else MULTIPLEXED)
    await connection.wait_until_read()
    takes_input = request.flag("stdin") and request.flag("stream")
    await exchange(connection, attachment, keys, takes_input=takes_input, is_framed=not container.tty)


async def attach_websocket(engine: Engine, request: Request) -> None:
    """Answer "Attach to a container via a websocket": output is not framed by stream."""
    try:
        answer = websocket.answer_to(request.headers)
    except ProtocolError as error:
        raise BadRequestError(str(error)) from error
    _, attachment, keys = _attachment(engine, request)
    connection = WebSocket(await request.upgrade(answer))
    takes_input = request.flag("stdin") and request.flag("stream")
    await exchange(connection, attachment, keys, takes_input=takes_input, is_framed=False)


def _attachment(engine: Engine, request: Request) -> tuple[Container, Attachment, bytes]:
    """Return the container of an attach request, the attachment, and its detach keys."""
    container = engine.containers.find(request.arguments[0])
    keys = parse_keys(request.text("detachKeys"))
    if container.state.status == PAUSED:
        raise ConflictError(f"Container {container.id} is paused, unpause the container before attach.")
    attachment = engine.streams.attach(
        container,
        stdin=request.flag("stdin"),
        stdout=request.flag("stdout"),
        stderr=request.flag("stderr"),
        stream=request.flag("stream"),
        logs=request.flag("logs"),
    )
    return container, attachment, keys


async def exchange(
    connection: ClientConnection | WebSocket,
    attachment: Attachment,
    keys: bytes,
    *,
    takes_input: bool,
    is_framed: bool,
    takes_all: bool = True,
) -> None:
    """Copy in both directions until the process's output ends, the client disconnects, or the detach keys are typed."""
    detach_keys = DetachKeys(keys) if attachment.tty else None
    encode = _framed if is_framed else _raw

    async def send(frame: LogFrame) -> None:
        await connection.send(encode(frame))

    async def send_output_alone(frame: LogFrame) -> None:
        if frame.stream != STDERR:
            await send(frame)

    async with anyio.create_task_group() as group:

        async def outwards() -> None:
            with suppress(Closed):
                await attachment.output(send if is_framed or takes_all else send_output_alone)
                await connection.end_output()
            group.cancel_scope.cancel()

        async def inwards() -> None:
            data = bytes(connection.buffer)
            connection.buffer.clear()
            while data or (data := await connection.receive()):
                is_detached = False
                if takes_input:
                    if detach_keys is not None:
                        data, is_detached = detach_keys.feed(data)
                    await attachment.send(data)
                if is_detached:
                    attachment.detach()
                    group.cancel_scope.cancel()
                    return
                data = b""
            if takes_input:
                await attachment.send_eof()
            # the client has closed its sending side; its disconnect is not seen by reading
            await connection.hung_up()
            group.cancel_scope.cancel()

        group.start_soon(outwards)
        group.start_soon(inwards)
