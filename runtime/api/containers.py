"""Routes of containers and execs."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

import anyio

from runtime.api.connection import Closed, Connection, Request, lines
from runtime.api.system import nanoseconds
from runtime.engine import filters
from runtime.engine.attachment import Attachment, LogFrame
from runtime.errors import BadRequestError, ConflictError, NotFoundError
from runtime.http.codec import frame_header
from runtime.keeper.client import LaunchError

if TYPE_CHECKING:
    from runtime.engine.engine import Engine

RAW, MULTIPLEXED = "application/vnd.docker.raw-stream", "application/vnd.docker.multiplexed-stream"


async def list_(engine: Engine, request: Request) -> None:
    """Answer "List containers"."""
    wanted = filters.parse(request.text("filters"))
    limit = request.number("limit")
    found = engine.containers.list(all=request.flag("all") or (limit or 0) > 0, limit=limit, filters=wanted)
    await request.answer(200, found)


async def create(engine: Engine, request: Request) -> None:
    """Answer "Create a container"."""
    body = await request.json()
    created = await engine.containers.create(request.text("name") or None, body, request.text("platform"))
    await request.answer(201, created)


async def inspect(engine: Engine, request: Request) -> None:
    """Answer "Inspect a container"."""
    await request.answer(200, engine.containers.inspect(request.arguments[0]))


async def start(engine: Engine, request: Request) -> None:
    """Answer "Start a container"."""
    await engine.containers.start_by_name(request.arguments[0])
    await request.answer(204)


async def stop(engine: Engine, request: Request) -> None:
    """Answer "Stop a container"."""
    await engine.containers.stop_by_name(
        request.arguments[0], signal_name=request.text("signal"), timeout_s=request.number("t")
    )
    await request.answer(204)


async def restart(engine: Engine, request: Request) -> None:
    """Answer "Restart a container"."""
    await engine.containers.restart(
        request.arguments[0], signal_name=request.text("signal"), timeout_s=request.number("t")
    )
    await request.answer(204)


async def kill(engine: Engine, request: Request) -> None:
    """Answer "Kill a container"."""
    await engine.containers.kill(request.arguments[0], request.text("signal"))
    await request.answer(204)


async def pause(engine: Engine, request: Request) -> None:
    """Answer "Pause a container"."""
    await engine.containers.pause(request.arguments[0], True)
    await request.answer(204)


async def unpause(engine: Engine, request: Request) -> None:
    """Answer "Unpause a container"."""
    await engine.containers.pause(request.arguments[0], False)
    await request.answer(204)


async def rename(engine: Engine, request: Request) -> None:
    """Answer "Rename a container"."""
    engine.containers.rename(request.arguments[0], request.text("name") or "")
    await request.answer(204)


async def update(engine: Engine, request: Request) -> None:
    """Answer "Update a container"."""
    await request.answer(200, await engine.containers.update(request.arguments[0], await request.json()))


async def remove(engine: Engine, request: Request) -> None:
    """Answer "Remove a container"."""
    await engine.containers.remove(request.arguments[0], force=request.flag("force"), volumes=request.flag("v"))
    await request.answer(204)


async def prune(engine: Engine, request: Request) -> None:
    """Answer "Delete stopped containers"."""
    wanted = filters.parse(request.text("filters"))
    removed = []
    for row in engine.containers.list(all=True, filters={"label": wanted.get("label") or []}):
        if row["State"] in ("created", "exited", "dead"):
            await engine.containers.remove(row["Id"])
            removed.append(row["Id"])
    await request.answer(200, {"ContainersDeleted": removed, "SpaceReclaimed": 0})


async def wait(engine: Engine, request: Request) -> None:
    """Answer "Wait for a container"; the head goes at once, clients wait for it before they start the container."""
    name, condition = request.arguments[0], request.text("condition") or "not-running"
    engine.containers.find(name)

    async def result() -> AsyncGenerator[bytes, None]:
        yield json.dumps(await engine.containers.wait(name, condition)).encode() + b"\n"

    await request.stream(result())


async def top(engine: Engine, request: Request) -> None:
    """Answer "List processes running inside a container"."""
    await request.answer(200, await engine.containers.top(request.arguments[0], request.text("ps_args") or "-ef"))


async def stats(engine: Engine, request: Request) -> None:
    """Answer "Get container stats"."""
    stream = engine.containers.stats(
        request.arguments[0], stream=request.flag("stream", True), one_shot=request.flag("one-shot")
    )
    await request.stream(lines(stream))


async def resize(engine: Engine, request: Request) -> None:
    """Answer "Resize a container TTY"."""
    engine.containers.resize(request.arguments[0], request.number("h") or 0, request.number("w") or 0)
    await request.answer(200)


# --- streams


async def _framed(frames: AsyncGenerator[LogFrame, None], tty: bool) -> AsyncGenerator[bytes, None]:
    async with aclosing(frames):
        async for frame in frames:
            yield frame.data if tty else frame_header(frame.stream or 1, len(frame.data)) + frame.data


async def logs(engine: Engine, request: Request) -> None:
    """Answer "Get container logs"."""
    name = request.arguments[0]
    container = engine.containers.find(name)
    stdout, stderr = request.flag("stdout"), request.flag("stderr")
    if not stdout and not stderr:
        raise BadRequestError("Bad parameters: you must choose at least one stream")
    tail = request.text("tail") or "all"
    frames = engine.containers.logs(
        name,
        stdout=stdout,
        stderr=stderr,
        follow=request.flag("follow"),
        since_ns=nanoseconds(request.text("since")) or 0,
        until_ns=nanoseconds(request.text("until")) or 0,
        timestamps=request.flag("timestamps"),
        tail=int(tail) if tail.isdigit() else None,
    )
    await request.stream(_framed(frames, container.tty), kind=RAW if container.tty else MULTIPLEXED)


async def attach(engine: Engine, request: Request) -> None:
    """Answer "Attach to a container"."""
    container = engine.containers.find(request.arguments[0])
    attachment = engine.containers.attach(
        container.id,
        stdin=request.flag("stdin"),
        stdout=request.flag("stdout"),
        stderr=request.flag("stderr"),
        stream=request.flag("stream"),
        logs=request.flag("logs"),
    )
    connection = await request.hijack(RAW if container.tty else MULTIPLEXED)
    await _exchange(connection, attachment, takes_input=request.flag("stdin") and request.flag("stream"))


async def _exchange(connection: Connection, attachment: Attachment, *, takes_input: bool) -> None:
    """Carry bytes both ways until the process's output ends or the client hangs up."""
    async with anyio.create_task_group() as group:

        async def outwards() -> None:
            with suppress(Closed):
                async with aclosing(_framed(attachment.frames, attachment.tty)) as frames:
                    async for data in frames:
                        await connection.send(data)
                connection.end_output()
            group.cancel_scope.cancel()

        async def inwards() -> None:
            if connection.buffer and takes_input:
                await attachment.send(bytes(connection.buffer))
            connection.buffer.clear()
            while data := await connection.receive():
                if takes_input:
                    await attachment.send(data)
            if takes_input:
                await attachment.send_eof()

        group.start_soon(outwards)
        group.start_soon(inwards)


# --- files


def _path(request: Request) -> str:
    path = request.text("path")
    if not path:
        raise BadRequestError("bad parameter: path cannot be empty")
    return path


def _stat_header(about: dict[str, object]) -> dict[str, str]:
    return {"X-Docker-Container-Path-Stat": base64.b64encode(json.dumps(about).encode()).decode()}


async def archive_head(engine: Engine, request: Request) -> None:
    """Answer "Get information about files in a container"."""
    about = await engine.containers.archive_stat(request.arguments[0], _path(request))
    await request.answer(200, headers=_stat_header(about))


async def archive_get(engine: Engine, request: Request) -> None:
    """Answer "Get an archive of a filesystem resource in a container"."""
    name, path = request.arguments[0], _path(request)
    about = await engine.containers.archive_stat(name, path)
    stream = engine.containers.archive_get(name, path)
    async with aclosing(stream):
        from runtime.api.connection import BASE_HEADERS

        headers = {**BASE_HEADERS, **_stat_header(about), "Content-Type": "application/x-tar"}
        request.has_answered = True
        head = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
        await request.connection.send(f"HTTP/1.1 200 OK\r\n{head}Connection: close\r\n\r\n".encode())
        request.keeps_alive = False
        async for data in stream:
            await request.connection.send(data)


async def archive_put(engine: Engine, request: Request) -> None:
    """Answer "Extract an archive of files or folders to a directory in a container"."""
    await engine.containers.archive_put(
        request.arguments[0],
        _path(request),
        request.chunks(),
        no_overwrite_dir_non_dir=request.flag("noOverwriteDirNonDir"),
    )
    await request.answer(200)


# --- execs


async def exec_create(engine: Engine, request: Request) -> None:
    """Answer "Create an exec instance"."""
    body = await request.json()
    if not body.get("Cmd"):
        raise BadRequestError("No exec command specified")
    await request.answer(201, engine.execs.create(request.arguments[0], body))


async def exec_start(engine: Engine, request: Request) -> None:
    """Answer "Start an exec instance"."""
    body = await request.json()
    id = request.arguments[0]
    about = engine.execs.inspect(id)
    if not engine.containers.find(about["ContainerID"]).is_running:
        raise ConflictError(f"container {about['ContainerID']} is not running")
    if body.get("Detach"):
        await engine.execs.start(id, body)
        await request.answer(200)
        return
    # the head goes before the process starts: clients read it alone, and raw bytes from then on
    tty = about["ProcessConfig"]["tty"]
    connection = await request.hijack(RAW if tty else MULTIPLEXED)
    try:
        attachment = await engine.execs.start(id, body)
    except LaunchError as error:
        text = f"OCI runtime exec failed: {error}\r\n".encode()
        await connection.send(text if tty else frame_header(1, len(text)) + text)
        return
    assert attachment is not None
    await _exchange(connection, attachment, takes_input=about["OpenStdin"])


async def exec_resize(engine: Engine, request: Request) -> None:
    """Answer "Resize an exec instance"."""
    engine.execs.resize(request.arguments[0], request.number("h") or 0, request.number("w") or 0)
    await request.answer(200)


async def exec_inspect(engine: Engine, request: Request) -> None:
    """Answer "Inspect an exec instance"."""
    about = engine.execs.inspect(request.arguments[0])
    if not about:
        raise NotFoundError(f"No such exec instance: {request.arguments[0]}")
    await request.answer(200, about)
