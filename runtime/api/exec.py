"""Routes of exec instances (Docker Engine API, "Exec")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime import bodies
from runtime.api.request import Request
from runtime.api.streams import MULTIPLEXED, RAW, exchange
from runtime.engine.containers.making.checks import check_console_size
from runtime.engine.streams.detach import parse_keys
from runtime.errors import BadRequestError, SkiffError
from runtime.http.codec import frame_header

if TYPE_CHECKING:
    from runtime.engine.engine import Engine


async def create(engine: Engine, request: Request) -> None:
    """Answer "Create an exec instance"."""
    body = await request.json(bodies.ExecConfig, is_optional=False)
    parse_keys(body.get("DetachKeys"))
    if not body.get("Cmd"):
        raise BadRequestError("No exec command specified")
    await request.answer(201, await engine.execs.create(request.arguments[0], body))


async def start(engine: Engine, request: Request) -> None:
    """Answer "Start an exec instance"."""
    body = await request.json(bodies.ExecStart)
    id = request.arguments[0]
    one = engine.execs.find(id)
    check_console_size(body.get("ConsoleSize"))
    if body.get("Detach"):
        await engine.execs.start(id, body)
        await request.answer(200)
        return
    engine.execs.check(one)
    # the head is sent before the process starts, and must arrive alone (see `wait_until_read`)
    keys = parse_keys(one.body.get("DetachKeys"))
    # as of Docker: this request's word decides how the output comes, that of "create" what the process has
    is_framed = not body.get("Tty")
    connection = await request.hijack(MULTIPLEXED if is_framed else RAW)
    try:
        attachment = await engine.execs.start(id, body)
    except SkiffError as error:
        await connection.wait_until_read()
        text = f"{error.message}\r\n".encode()
        await connection.send(frame_header(1, len(text)) + text if is_framed else text)
        return
    assert attachment is not None
    await connection.wait_until_read()
    takes_input = bool(one.body.get("AttachStdin"))
    # where streams are not apart, standard error of a process without a terminal is left out
    await exchange(connection, attachment, keys, takes_input=takes_input, is_framed=is_framed, takes_all=False)


async def resize(engine: Engine, request: Request) -> None:
    """Answer "Resize an exec instance"."""
    await engine.execs.resize(request.arguments[0], request.number("h") or 0, request.number("w") or 0)
    await request.answer(200)


async def inspect(engine: Engine, request: Request) -> None:
    """Answer "Inspect an exec instance"."""
    await request.answer(200, engine.execs.inspect(request.arguments[0]))
