"""Routes of the engine as a whole: ping, version, events, disk usage, our own extensions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from runtime import bodies
from runtime.api import versions
from runtime.api.request import Request, line
from runtime.engine import filters
from runtime.engine.events import Event
from runtime.errors import BadRequestError
from runtime.streaming import pieces_of

if TYPE_CHECKING:
    from runtime.engine.engine import Engine


RECORD_SEPARATOR = b"\x1e"
"""What a record begins with (RFC 7464, "JSON Text Sequences")."""
PING_HEADERS = {
    "Builder-Version": "2",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
    "Swarm": "inactive",
}


async def ping(engine: Engine, request: Request) -> None:
    """Answer "Ping"."""
    await request.answer(200, b"OK", kind="text/plain; charset=utf-8", headers=PING_HEADERS)


async def version(engine: Engine, request: Request) -> None:
    """Answer "Get version"."""
    newest = versions.shown(versions.HIGHEST if request.names_version else versions.UNNAMED)
    await request.answer(200, engine.system.version(newest, versions.shown(versions.LOWEST)))


async def info(engine: Engine, request: Request) -> None:
    """Answer "Get system information"."""
    await request.answer(200, await engine.system.info())


async def df(engine: Engine, request: Request) -> None:
    """Answer "Get data usage information"."""
    found = await engine.disk_usage.df(request.queries.get("type") or ())
    is_verbose = request.flag("verbose")
    await request.answer(200, versions.disk_usage(found, request.version, is_verbose=is_verbose))


async def events(engine: Engine, request: Request) -> None:
    """Answer "Monitor events"."""
    wanted = filters.parse(request.text("filters"))
    since_ns, until_ns = request.moment("since"), request.moment("until")
    if since_ns is not None and until_ns is not None and since_ns > until_ns:
        since, until = request.text("since"), request.text("until")
        raise BadRequestError(f"`since` time ({since}) cannot be after `until` time ({until})")
    stream = engine.events.subscribe(filters=wanted, since_ns=since_ns, until_ns=until_ns)
    kind = versions.event_kind(request.headers.get("accept", ""), request.version)
    start = RECORD_SEPARATOR if kind == "application/json-seq" else b""

    def encode(event: Event) -> bytes:
        return start + line(versions.event(event, request.version))

    await request.stream(pieces_of(stream), encode=encode, kind=kind)


async def engine(engine: Engine, request: Request) -> None:
    """Answer with the engine's PIDs and paths."""
    await request.answer(200, {**engine.system.engine(), "time": time.time()})


async def stop(engine: Engine, request: Request) -> None:
    """Stop the engine; with `force` kill containers first, with `shutdown` stop them since the machine shuts down."""
    await engine.stop(force=request.flag("force"), with_machine=request.flag("shutdown"))
    request.keeps_alive = False
    await request.answer(200, engine.system.engine())


async def check(engine: Engine, request: Request) -> None:
    """Answer with differences between disk, engine, keeper and kernel; POST repairs them if possible."""
    await request.answer(200, await engine.check.run(repair=request.method == "POST"))


async def ports_check(engine: Engine, request: Request) -> None:
    """Answer with 409 and the process that has the port if a host port is not available."""
    engine.ports_check((await request.json(bodies.PortsCheck)).get("bindings") or ())
    await request.answer(200, {})
