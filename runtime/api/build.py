"""Routes of builds and of their cache (Docker Engine API, "Build an image")."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from runtime.api import buildkit, pruning
from runtime.api.images import registry_config
from runtime.api.request import Request, line
from runtime.build.client_directory import opened
from runtime.build.digests import drop
from runtime.build.options import options_from_query
from runtime.engine import filters
from runtime.engine.times import moment, rfc3339
from runtime.errors import EngineError

if TYPE_CHECKING:
    from runtime.engine.engine import Engine

PRUNE_FILTERS = (
    "until", "unused-for", "id", "parent", "type", "description", "inuse", "shared", "private", "immutable", "mutable",
    "label", "label!"
)  # fmt: skip


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


async def prune(engine: Engine, request: Request) -> None:
    """Answer "Delete builder cache"."""
    kept = [request.number(name) or 0 for name in ("keep-storage", "reserved-space", "max-used-space")]

    async def remove(wanted: filters.Filters, report: filters.Report) -> dict[str, Any]:
        filters.check_known(wanted, PRUNE_FILTERS, "failed to prune build cache: ")
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

    await pruning.answer(request, remove)
