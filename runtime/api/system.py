"""Routes of the engine as a whole: ping, version, events, builds, our own extensions."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from runtime import bodies
from runtime.api import buildkit, pruning, versions
from runtime.api.images import registry_config
from runtime.api.request import Request, line
from runtime.build.client_directory import opened
from runtime.build.digests import drop
from runtime.build.options import options_from_query
from runtime.engine import filters
from runtime.engine.events import Event
from runtime.engine.times import moment, rfc3339
from runtime.errors import BadRequestError, EngineError
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
BUILD_PRUNE_FILTERS = (
    "until", "unused-for", "id", "parent", "type", "description", "inuse", "shared", "private", "immutable", "mutable",
    "label", "label!"
)  # fmt: skip


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


async def build(engine: Engine, request: Request) -> None:
    """Answer "Build an image": the context is the body, messages are streamed."""
    options = replace(options_from_query(request.queries), credentials=registry_config(request))
    if request.text("version") == "2":
        await buildkit.build(engine, request, options)
        return
    await request.stream(partial(engine.builder.build_archive, request.chunks(), options), encode=line, waits=True)


async def build_here(engine: Engine, request: Request) -> None:
    """Build directories of a client on this machine, as `build` does; the body is an archive of what is sent along.

    Its descriptors come with the request; `directories` are their names, of which "" is the context.
    """
    options = replace(options_from_query(request.queries), credentials=registry_config(request))
    names = request.queries.get("directories") or []
    with ExitStack() as stack:
        descriptors = request.connection.take_descriptors()
        for descriptor in descriptors:
            stack.callback(os.close, descriptor)
        if len(descriptors) != len(names) or "" not in names:  # a relay between client and engine has dropped them
            raise EngineError("the client's directories did not arrive", "send them as an archive", 501)
        clients = stack.enter_context(opened(dict(zip(names, descriptors, strict=True)), engine.paths.context_digests))
        source = partial(engine.builder.build_clients, clients, request.chunks(), options)
        await request.stream(source, encode=line, waits=True)


async def build_prune(engine: Engine, request: Request) -> None:
    """Answer "Delete builder cache"."""
    kept = [request.number(name) or 0 for name in ("keep-storage", "reserved-space", "max-used-space")]

    async def prune(wanted: filters.Filters, report: filters.Report) -> dict[str, Any]:
        filters.check_known(wanted, BUILD_PRUNE_FILTERS, "failed to prune build cache: ")
        ages = wanted.get("until") or wanted.get("unused-for") or ()
        before = rfc3339(min(moment(text, time.time_ns()) for text in ages)) if ages else None
        removed, freed = list[str](), 0
        # `docker system prune` hands its filters on to every kind, and the build cache has no labels
        if filters.labels_match({}, wanted.get("label") or ()):
            removed, freed = await engine.builder.prune(
                before=before, keep_bytes=max(kept), report=lambda id: report(id, filters.DELETED)
            )
            buildkit.drop_contexts(engine)
            drop(engine.paths.context_digests)
        engine.events.emit("builder", "prune", "", {"reclaimed": str(freed)})
        return {"CachesDeleted": removed or None, "SpaceReclaimed": freed}

    await pruning.answer(request, prune)


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
