"""Routes of containers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from runtime import bodies
from runtime.api import pruning, versions
from runtime.api.request import Request, line
from runtime.engine import filters
from runtime.engine.containers.api import WAIT_CONDITIONS
from runtime.errors import BadRequestError
from runtime.streaming import Send, pieces_of

if TYPE_CHECKING:
    from runtime.engine.engine import Engine


async def list_(engine: Engine, request: Request) -> None:
    """Answer "List containers"."""
    wanted = filters.parse(request.text("filters"))
    if request.version < (1, 56):
        filters.check_known(wanted, wanted.keys() - {"annotation"})
    limit = request.number("limit")
    found = await engine.containers.list(
        stopped=request.flag("all"), limit=limit, filters=wanted, size=request.flag("size")
    )
    await request.answer(200, found)


async def create(engine: Engine, request: Request) -> None:
    """Answer "Create a container"."""
    body = await request.json(bodies.CreateBody, is_optional=False)
    body, warnings = versions.container_request(body, request.version)
    created = await engine.creation.create(request.text("name") or None, body, request.text("platform"))
    await request.answer(201, {**created, "Warnings": [*created["Warnings"], *warnings]})


async def inspect(engine: Engine, request: Request) -> None:
    """Answer "Inspect a container"."""
    document = await engine.containers.inspect(request.arguments[0], size=request.flag("size"))
    await request.answer(200, versions.container(document, request.version))


async def start(engine: Engine, request: Request) -> None:
    """Answer "Start a container"."""
    await engine.containers.start(request.arguments[0])
    await request.answer(204)


async def stop(engine: Engine, request: Request) -> None:
    """Answer "Stop a container"; a header of ours names a stop signal that the kernel dropped."""
    dropped = await engine.containers.stop(
        request.arguments[0], signal_name=request.text("signal"), timeout_s=_seconds(request)
    )
    await request.answer(204, headers={"Skiff-Dropped-Signal": dropped} if dropped else {})


async def restart(engine: Engine, request: Request) -> None:
    """Answer "Restart a container"."""
    await engine.containers.restart(
        request.arguments[0], signal_name=request.text("signal"), timeout_s=_seconds(request)
    )
    await request.answer(204)


def _seconds(request: Request) -> float | None:
    """Return `t`; our own client also asks for parts of a second. Raises BadRequestError."""
    text = request.text("t") or ""
    return float(text) if re.fullmatch(r"\d+\.\d+", text) else request.number("t")


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
    body = versions.update_request(await request.json(bodies.Resources), request.version)
    await request.answer(200, await engine.containers.update(request.arguments[0], body))


async def remove(engine: Engine, request: Request) -> None:
    """Answer "Remove a container"."""
    if request.flag("link"):
        engine.containers.remove_link(request.arguments[0])
        await request.answer(204)
        return
    await engine.containers.remove(request.arguments[0], force=request.flag("force"), volumes=request.flag("v"))
    await request.answer(204)


async def prune(engine: Engine, request: Request) -> None:
    """Answer "Delete stopped containers"."""
    await pruning.answer(request, engine.containers.prune)


async def wait(engine: Engine, request: Request) -> None:
    """Answer "Wait for a container"; the head is sent at once, as clients wait for it before starting the container."""
    name, condition = request.arguments[0], request.text("condition") or "not-running"
    if condition not in WAIT_CONDITIONS:
        raise BadRequestError(f'invalid condition: "{condition}"')
    engine.containers.find(name)

    async def result(send: Send[bytes]) -> None:
        await send(json.dumps(await engine.containers.wait(name, condition)).encode() + b"\n")

    await request.stream(result, encode=bytes)


async def top(engine: Engine, request: Request) -> None:
    """Answer "List processes running inside a container"."""
    await request.answer(200, await engine.containers.top(request.arguments[0], request.text("ps_args") or "-ef"))


async def stats(engine: Engine, request: Request) -> None:
    """Answer "Get container stats"."""
    engine.containers.find(request.arguments[0])
    stream = engine.containers.stats(
        request.arguments[0], stream=request.flag("stream", True), one_shot=request.flag("one-shot")
    )
    await request.stream(pieces_of(stream), encode=lambda one: line(versions.statistics(one, request.version)))


async def resize(engine: Engine, request: Request) -> None:
    """Answer "Resize a container TTY"."""
    engine.containers.resize(request.arguments[0], request.number("h") or 0, request.number("w") or 0)
    await request.answer(200)
