"""`moby.buildkit.v1.Control`: builds, their status and history, workers and the cache."""

from __future__ import annotations

import base64
import os
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import anyio

from runtime.build.options import BuildOptions
from runtime.buildkit.bridge import Bridge
from runtime.buildkit.builds import Build, Builds
from runtime.buildkit.cache_export import cache_exports, export_cache
from runtime.buildkit.export import export
from runtime.buildkit.http2 import Http2
from runtime.buildkit.progress import CONTROL, timestamp
from runtime.buildkit.results import is_definition
from runtime.buildkit.rpc import CANCELLED, INVALID_ARGUMENT, UNKNOWN, Call, RpcError
from runtime.buildkit.schema import BYTES, message
from runtime.buildkit.sessions import UUID, Session, Sessions
from runtime.engine.engine import Engine
from runtime.errors import SkiffError
from runtime.image.images import Image
from runtime.image.manifest import Platform
from runtime.image.transfers import together
from runtime.streaming import Send

VERSION = "v0.25.0"
"""The release of BuildKit whose API this is."""
STARTED, COMPLETE = 0, 1
PIECE_BYTES = 1 << 20
Methods = dict[str, Callable[[Call], Awaitable[None]]]


class _CallTransport:
    """The messages of a call as the bytes of a connection."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def receive(self) -> bytes:
        """Return the next bytes; none at the end."""
        while (piece := await self._call.receive(BYTES)) is not None:
            if piece.data:
                return bytes(piece.data)
        return b""

    async def send(self, data: bytes) -> None:
        """Send all of `data`."""
        for start in range(0, len(data), PIECE_BYTES):
            await self._call.send(message(BYTES)(data=data[start : start + PIECE_BYTES]))


class Control:
    """Serves what clients ask of the engine as a builder."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.builds = Builds()
        self.sessions = Sessions()
        self._bridge = Bridge(engine, self.builds, self.sessions)
        service = f"/{CONTROL}.Control/"
        self.methods: Methods = {
            **self._bridge.methods,
            f"{service}Info": self._info,
            f"{service}ListWorkers": self._list_workers,
            f"{service}Solve": self._solve,
            f"{service}Status": self._status,
            f"{service}Session": self._session,
            f"{service}DiskUsage": self._disk_usage,
            f"{service}Prune": self._prune,
            f"{service}ListenBuildHistory": self._history,
            f"{service}UpdateBuildHistory": self._update_history,
            "/grpc.health.v1.Health/Check": self._health,
        }

    def drop_contexts(self) -> None:
        """Remove what is kept of clients' directories."""
        self._bridge.contexts.drop()

    async def _health(self, call: Call) -> None:
        await call.receive(f"{CONTROL}.InfoRequest")  # whatever service it asks about
        answer = message("moby.buildkit.v1.BuildHistoryEvent")(type=1)  # field 1, a number: SERVING
        await call.send(answer)

    async def _info(self, call: Call) -> None:
        await call.request(f"{CONTROL}.InfoRequest")
        answer = message(f"{CONTROL}.InfoResponse")()
        self._describe_version(answer.buildkitVersion)
        await call.send(answer)

    def _describe_version(self, version: Any) -> None:
        version.package, version.version = "skiff", VERSION

    async def _list_workers(self, call: Call) -> None:
        await call.request(f"{CONTROL}.ListWorkersRequest")
        answer = message(f"{CONTROL}.ListWorkersResponse")()
        worker = answer.record.add(ID=self._engine.paths.engine_id)
        # clients take builders with this label for ones that export archives
        worker.Labels["org.mobyproject.buildkit.worker.snapshotter"] = "overlayfs"
        worker.Labels["org.mobyproject.buildkit.worker.hostname"] = os.uname().nodename
        own = Platform.host()
        worker.platforms.add(OS=own.os, Architecture=own.architecture)
        self._describe_version(worker.BuildkitVersion)
        await call.send(answer)

    async def _solve(self, call: Call) -> None:
        request = await call.request(f"{CONTROL}.SolveRequest")
        build = self.builds.open(request.Ref, request)
        try:
            caches = cache_exports(request.Cache.Exports)
            images = await self._result(build, request)
            session = await self.sessions.get(request.Session) if request.Session else None
            if images:
                build.response = await export(self._engine, build, session, images)
                for cache in caches:
                    await export_cache(self._engine, build, session, images, cache)
            answer = message(f"{CONTROL}.SolveResponse")()
            answer.ExporterResponse.update(build.response)
            await call.send(answer)
        except RpcError as error:
            build.error = error
            raise
        except SkiffError as error:
            build.error = RpcError(UNKNOWN, str(error))
            raise
        except anyio.get_cancelled_exc_class():
            build.error = RpcError(CANCELLED, "the build was cancelled")
            raise
        finally:
            self.builds.close(build)

    async def _result(self, build: Build, request: Any) -> list[Image]:
        """Return the images, one for each platform, that the client's own build returns, or those of the request itself."""
        if request.Frontend or is_definition(request.Definition):
            asked = message("moby.buildkit.v1.frontend.SolveRequest")(Frontend=request.Frontend)
            asked.FrontendOpt.update(request.FrontendAttrs)
            asked.Definition.CopyFrom(request.Definition)
            result = await self._bridge.solve(build, asked)
            refs = [result.ref] if result.HasField("ref") else list(result.refs.refs.values())
            return [build.image(id) for id in build.in_order(ref.id for ref in refs)]
        await build.returned.wait()
        if build.error is not None:
            raise build.error
        return build.results

    async def _session(self, call: Call) -> None:
        """Take the client as one who is asked for files and secrets, over HTTP/2 within the messages of this call."""
        if not call.metadata.get(UUID):
            raise RpcError(INVALID_ARGUMENT, f"a session needs its ID: {UUID}")
        connection = Http2(_CallTransport(call), is_client=True)
        async with self.sessions.open(Session(call.metadata, connection)):
            await connection.run()

    async def _status(self, call: Call) -> None:
        request = await call.request(f"{CONTROL}.StatusRequest")
        build = await self.builds.get(request.Ref)
        async for event in build.progress.events():
            await call.send(event)

    async def build(self, ref: str, session: str, options: BuildOptions, send: Send[dict[str, Any]]) -> None:
        """Build for a client that asks with `POST /build?version=2`, as Docker's did before buildx.

        Sends Docker's JSON messages, in which the status of the build is wrapped, then the image's ID or the error.
        """
        build = self.builds.open(ref, message(f"{CONTROL}.SolveRequest")(Ref=ref, Session=session))
        last: dict[str, Any] = {}

        async def work() -> None:
            try:
                image = await self._bridge.build(build, await self.sessions.get(session), options)
                last.update(id="moby.image.id", aux={"ID": image.id})
            except SkiffError as error:
                last.update(errorDetail={"message": str(error)}, error=str(error))
            finally:
                self.builds.close(build)

        async with together() as group:
            group.start_soon(work)
            async for event in build.progress.events():
                await send({"id": "moby.buildkit.trace", "aux": base64.b64encode(event.SerializeToString()).decode()})
        await send(last)

    # --- the cache

    async def _disk_usage(self, call: Call) -> None:
        await call.request(f"{CONTROL}.DiskUsageRequest")
        answer = message(f"{CONTROL}.DiskUsageResponse")()
        for row in (await self._engine.disk_usage.df(["build-cache"])).get("BuildCache") or ():
            answer.record.append(_record(row))
        await call.send(answer)

    async def _prune(self, call: Call) -> None:
        request = await call.request(f"{CONTROL}.PruneRequest")
        rows = (await self._engine.disk_usage.df(["build-cache"])).get("BuildCache") or ()
        removed, _ = await self._engine.builder.prune(keep_bytes=request.maxUsedSpace or request.reservedSpace)
        gone = set(removed)
        if not request.maxUsedSpace and not request.reservedSpace:
            self.drop_contexts()
        for row in rows:
            if row["ID"] in gone:
                await call.send(_record(row))

    # --- the history

    async def _history(self, call: Call) -> None:
        request = await call.request(f"{CONTROL}.BuildHistoryRequest")
        # what clients do for themselves (the provenance of a build, say) is none that anybody asked for
        builds = [(ref, build) for ref, build in self.builds.list() if not build.request.Internal]
        found = [(ref, build) for ref, build in builds if request.Ref in ("", ref)]
        for ref, build in found[-request.Limit :] if request.Limit else found:
            if not (request.ActiveOnly and build.completed_ns):
                kind = COMPLETE if build.completed_ns else STARTED
                await call.send(message(f"{CONTROL}.BuildHistoryEvent")(type=kind, record=_history_record(ref, build)))
        if not request.EarlyExit:
            await anyio.sleep_forever()

    async def _update_history(self, call: Call) -> None:
        request = await call.request(f"{CONTROL}.UpdateBuildHistoryRequest")
        build = await self.builds.get(request.Ref)
        if request.Delete:
            self.builds.drop(request.Ref)
        elif not request.Finalize:
            build.is_pinned = request.Pinned
        await call.send(message(f"{CONTROL}.UpdateBuildHistoryResponse")())


def _record(row: Any) -> Any:
    found = message(f"{CONTROL}.UsageRecord")(
        ID=row["ID"],
        Size=row.get("Size") or 0,
        InUse=bool(row.get("InUse")),
        Shared=bool(row.get("Shared")),
        Description=row.get("Description") or "",
        RecordType=row.get("Type") or "regular",
        UsageCount=row.get("UsageCount") or 0,
    )
    for name, member in (("CreatedAt", found.CreatedAt), ("LastUsedAt", found.LastUsedAt)):
        if row.get(name):
            member.CopyFrom(timestamp(int(datetime.fromisoformat(row[name]).timestamp() * 10**9)))
    return found


def _history_record(ref: str, build: Build) -> Any:
    progress = build.progress
    found = message(f"{CONTROL}.BuildHistoryRecord")(
        Ref=ref,
        Frontend=build.request.Frontend or "dockerfile.v0",
        numCachedSteps=progress.cached,
        numTotalSteps=progress.total,
        numCompletedSteps=progress.completed,
        numWarnings=progress.warnings,
        pinned=build.is_pinned,
        CreatedAt=timestamp(build.created_ns),
    )
    found.FrontendAttrs.update(build.attributes)
    found.ExporterResponse.update(build.response)
    if build.completed_ns:
        found.CompletedAt.CopyFrom(timestamp(build.completed_ns))
    if build.error is not None:
        found.error.CopyFrom(build.error.status)
    return found
