"""`moby.buildkit.v1.frontend.LLBBridge`: what a client asks for within a build of its own, as buildx does."""

from __future__ import annotations

import base64
import json
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from runtime.build.arguments import global_arguments
from runtime.build.contexts import ID_SCHEME
from runtime.build.errors import DockerfileError
from runtime.build.expansion import expand
from runtime.build.git import is_git
from runtime.build.instructions import Copy, Dockerfile, From, Instruction, Stage
from runtime.build.options import BuildOptions
from runtime.build.session import SCRATCH_IMAGE
from runtime.build.tree import Tree
from runtime.buildkit.builds import Build, Builds
from runtime.buildkit.client_images import import_caches, local_caches, with_layouts
from runtime.buildkit.contexts import Contexts
from runtime.buildkit.frontend import (
    CONTEXT,
    UPLOADED,
    Content,
    ParsedDockerfile,
    cache_sources,
    options_of,
    platforms_of,
    prepared,
    read_file,
    receive_repository,
    receive_upload,
)
from runtime.buildkit.operations import Operations
from runtime.buildkit.progress import Messages, VertexOutputs
from runtime.buildkit.provenance import Facts, Material
from runtime.buildkit.results import INPUT, Graph, definition_of, is_definition
from runtime.buildkit.rpc import CANCELLED, NOT_FOUND, UNIMPLEMENTED, UNKNOWN, Call, RpcError
from runtime.buildkit.schema import message
from runtime.buildkit.sessions import Session, Sessions, nobody
from runtime.buildkit.subrequests import answer_subrequest
from runtime.engine.engine import Engine
from runtime.errors import SkiffError
from runtime.image.images import Image
from runtime.image.index import platform_document
from runtime.image.manifest import Platform

FRONTEND = "moby.buildkit.v1.frontend"
BUILD_ID = "buildkit-controlapi-buildid"
OWN_FRONTEND = "docker/dockerfile"
DOCKERFILE, GATEWAY = "dockerfile.v0", "gateway.v0"
CAPABILITIES = (
    "solve.base", "resolveimage", "readfile", "readdir", "statfile", "return", "returnmap", "proto.refarray", "reference.output",
    "frontend.inputs", "gateway.solve.metadata", "frontend.caps", "gateway.solve.evaluate", "gateway.warnings",
)  # fmt: skip
"""What of the gateway's API is served (BuildKit, "frontend/gateway/pb")."""

OPERATIONS = (
    "source.image", "source.local", "source.local.unique", "source.local.session", "source.local.excludepatterns",
    "source.local.sharedkeyhint", "source.git", "source.git.keepgitdir", "source.git.fullurl", "source.git.httpauth",
    "source.git.knownsshhosts", "source.git.mountsshsock", "source.http", "source.http.checksum", "source.http.perm",
    "source.ocilayout", "exec.meta.base", "exec.meta.network", "exec.meta.security", "exec.mount.bind",
    "exec.mount.bind.readwrite-nooutput", "exec.mount.cache", "exec.mount.cache.sharing", "exec.mount.selector",
    "exec.mount.tmpfs", "exec.mount.tmpfs.size", "exec.mount.secret", "exec.mount.ssh", "exec.secretenv", "file.base",
    "file.copy.modestring", "constraints", "platform", "meta.description", "meta.ignorecache", "meta.exportcache",
    "mergeop", "diffop",
)  # fmt: skip
"""What of low-level definitions is run (see `operations`)."""
ATTESTATIONS = "exporter.image.attestations"
"""What clients look for before they ask for provenance (BuildKit, "solver/pb")."""


class Bridge:
    """Serves the calls of builds' clients."""

    def __init__(self, engine: Engine, builds: Builds, sessions: Sessions) -> None:
        self._engine = engine
        self._builds = builds
        self._sessions = sessions
        self._one_definition = anyio.Lock()
        self.contexts = Contexts(engine.paths.build_contexts, engine.paths.context_digests, engine.trash)
        service = f"/{FRONTEND}.LLBBridge/"
        self.methods = {
            f"{service}Ping": self._ping,
            f"{service}Solve": self._solve,
            f"{service}Return": self._return,
            f"{service}ReadFile": self._read_file,
            f"{service}ReadDir": self._read_directory,
            f"{service}StatFile": self._stat_file,
            f"{service}Evaluate": self._evaluate,
            f"{service}Inputs": self._inputs,
            f"{service}Warn": self._warn,
            f"{service}ResolveImageConfig": self._resolve_image,
        }

    async def _build_of(self, call: Call) -> Build:
        ref = call.metadata.get(BUILD_ID, "")
        if not ref:
            raise RpcError(NOT_FOUND, "the call names no build")
        return await self._builds.get(ref)

    async def _ping(self, call: Call) -> None:
        await call.request(f"{FRONTEND}.PingRequest")
        answer = message(f"{FRONTEND}.PongResponse")()
        for id in CAPABILITIES:
            answer.FrontendAPICaps.add(ID=id, Enabled=True)
        for id in (ATTESTATIONS, *OPERATIONS):
            answer.LLBCaps.add(ID=id, Enabled=True)
        await call.send(answer)

    async def _solve(self, call: Call) -> None:
        build = await self._build_of(call)
        request = await call.request(f"{FRONTEND}.SolveRequest")
        answer = message(f"{FRONTEND}.SolveResponse")()
        answer.result.CopyFrom(await self.solve(build, request))
        await call.send(answer)

    async def solve(self, build: Build, request: Any) -> Any:
        """Return the Result of a SolveRequest within `build`. Raises RpcError."""
        attributes = {**build.attributes, **request.FrontendOpt}
        if is_definition(request.Definition) and not request.Frontend:
            return await self._solve_definition(build, request)
        if request.Frontend == GATEWAY:
            _check_frontend(attributes.get("source", ""))
        elif request.Frontend != DOCKERFILE:
            raise RpcError(UNIMPLEMENTED, f"the frontend {request.Frontend!r} is not served by this engine")
        if build.completed_ns:
            raise build.error or RpcError(CANCELLED, "the build is over")
        session = await self._sessions.get(build.request.Session)
        for name, value in attributes.items():
            if name.startswith(f"{CONTEXT}:") and value.startswith(INPUT):
                image = await self._run_definition(build, session, request.FrontendInputs[value.removeprefix(INPUT)])
                attributes[name] = ID_SCHEME + image.id
        imports = [*request.CacheImports, *build.request.Cache.Imports]
        options = options_of(attributes, list(build.request.Entitlements), cache_sources(imports))
        wanted = attributes.get("requestid", "")
        url: str | Path = attributes.get(CONTEXT, "")
        if CONTEXT in request.FrontendInputs:
            url = await self._directory(build, session, request.FrontendInputs[CONTEXT])
        if wanted:
            async with self._opened(build, session, options, url) as (source, _, _):
                return answer_subrequest(wanted, source)
        result = message(f"{FRONTEND}.Result")()
        platforms = platforms_of(attributes)
        if len(platforms) < 2:
            image = await self._build_one(build, session, options, url, imports)
            result.ref.id = build.keep(image)
            getattr(result.ref, "def").CopyFrom(definition_of(image.id))
            result.metadata["containerimage.config"] = self._engine.images.content.read(image.id)
            return result
        described = []
        for platform in platforms:
            # one after the other: the next one finds what they share in the cache
            image = await self._build_one(build, session, replace(options, platform=str(platform)), url, imports)
            result.refs.refs[str(platform)].id = build.keep(image)
            getattr(result.refs.refs[str(platform)], "def").CopyFrom(definition_of(image.id))
            result.metadata[f"containerimage.config/{platform}"] = self._engine.images.content.read(image.id)
            described.append({"ID": str(platform), "Platform": platform_document(platform)})
        result.metadata["refs.platforms"] = json.dumps({"Platforms": described}).encode()
        return result

    async def _solve_definition(self, build: Build, request: Any) -> Any:
        """Return the Result of a low-level definition."""
        id = build.request.Session
        session = await self._sessions.get(id) if id else nobody()
        image = await self._run_definition(build, session, request.Definition)
        result = message(f"{FRONTEND}.Result")()
        result.ref.id = build.keep(image)
        getattr(result.ref, "def").CopyFrom(definition_of(image.id))
        return result

    async def _run_definition(self, build: Build, session: Session, definition: Any) -> Image:
        graph = Graph.of(definition)
        if (id := graph.image_id) is not None:  # a result of ours, with its configuration
            return self._engine.images.resolve(id)
        options = options_of({}, list(build.request.Entitlements))
        async with self._one_definition:
            return await Operations(self._engine, graph, partial(self._run_steps, build, session, options)).run()

    async def _directory(self, build: Build, session: Session, definition: Any) -> Path:
        """Return a directory with what a definition makes. It is only read."""
        image = await self._run_definition(build, session, definition)
        if len(image.diff_ids) != 1:
            everything = Copy("COPY", 0, ("/",), "/", from_stage=CONTEXT)
            contexts = {CONTEXT: ID_SCHEME + image.id}
            image = await self._run_steps(
                build, session, options_of({}, ()), SCRATCH_IMAGE, (everything,), contexts, ""
            )
        return self._engine.images.layer_directories(image)[0]

    async def _run_steps(
        self,
        build: Build,
        session: Session,
        options: BuildOptions,
        base: str,
        steps: Sequence[Instruction],
        contexts: Mapping[str, str],
        platform: str,
    ) -> Image:
        """Build instructions that no file has."""
        options = replace(options, contexts=dict(contexts), platform=platform or None)
        options = await with_layouts(self._engine, build, session, options)
        stage = Stage(0, From(f"FROM {base}", 0, base), tuple(steps))
        source = ParsedDockerfile("definition", b"", Dockerfile((), (stage,), name="definition"), None)
        self._engine.paths.tmp.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=self._engine.paths.tmp, prefix="build-", ignore_cleanup_errors=True
        ) as directory:
            nothing = Path(directory) / "nothing"  # the context: steps read from named ones alone
            nothing.mkdir()
            async with prepared(
                session, source, options, Path(directory), self.contexts, build.progress, self._triggers_of, nothing
            ) as request:
                return await self._engine.builder.run(
                    request,
                    Messages(build.progress, source.name, source.data),
                    lambda planned, _: VertexOutputs(build.progress, planned),
                    build.steps,
                )

    async def _build_one(
        self, build: Build, session: Session, options: BuildOptions, url: str | Path, imports: Sequence[Any]
    ) -> Image:
        """Build for one platform, with what the client's content stores have for it."""
        caches = [one for one in local_caches(imports) if (one, options.platform) not in build.imported]
        build.imported |= {(one, options.platform) for one in caches}
        await import_caches(self._engine, build, session, options, caches)
        return await self.build(build, session, await with_layouts(self._engine, build, session, options), url)

    async def build(self, build: Build, session: Session, options: BuildOptions, url: str | Path = "") -> Image:
        """Build what a client has, of the archive or repository at `url`, or that directory. Raises RpcError."""
        progress = build.progress
        async with (
            self._opened(build, session, options, url) as (source, scratch, uploaded),
            prepared(
                session, source, options, scratch, self.contexts, progress, self._triggers_of, uploaded
            ) as request,
        ):
            image = await self._engine.builder.run(
                request,
                Messages(progress, source.name, source.data),
                lambda planned, _: VertexOutputs(progress, planned),
                build.steps,
            )
            build.facts = self._facts(build, source, options)
            return image

    def _facts(self, build: Build, source: ParsedDockerfile, options: BuildOptions) -> Facts:
        stages = source.parsed.stages
        names = {stage.base.name for stage in stages}
        arguments = global_arguments(source.parsed, options, set())
        materials = {}
        for name in (expand(stage.base.image, arguments, source.parsed.escape) for stage in stages):
            if name not in names and name != SCRATCH_IMAGE:
                with suppress(SkiffError):
                    image = self._engine.images.resolve(name)
                    materials[name] = Material(name, (image.manifest or image.id).removeprefix("sha256:"))
        return Facts(
            build.request.Ref,
            build.attributes,
            source.name,
            source.data,
            build.created_ns,
            time.time_ns(),
            list(materials.values()),
            [one.text for stage in stages for one in (stage.base, *stage.instructions)],
        )

    def _triggers_of(self, name: str) -> Sequence[str] | None:
        """Return the ONBUILD triggers of the image `name`, None where it is not here."""
        if name == SCRATCH_IMAGE:
            return ()
        try:
            return self._engine.images.resolve(name).defaults.get("OnBuild") or ()
        except SkiffError:
            return None

    @asynccontextmanager
    async def _opened(
        self, build: Build, session: Session, options: BuildOptions, url: str | Path
    ) -> AsyncIterator[tuple[ParsedDockerfile, Path, Path | None]]:
        """Give the Dockerfile, a temporary directory, and the context where it was handed over.

        What is wrong with the Dockerfile, and with what the block does with it, is reported with its lines.
        """
        self._engine.paths.tmp.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=self._engine.paths.tmp, prefix="build-", ignore_cleanup_errors=True
        ) as directory:
            scratch = Path(directory)
            uploaded, address = (url, "") if isinstance(url, Path) else (None, url)
            if address.startswith(UPLOADED):
                uploaded = scratch / "uploaded"
                uploaded.mkdir()
                await receive_upload(session, address, uploaded)
            elif is_git(address):
                with build.progress.vertex(f"[internal] load git source {address}"):
                    uploaded = await receive_repository(session, address, scratch)
            content = await read_file(session, options, scratch, build.progress, uploaded)
            try:
                source = content.parsed()
                _check_frontend(source.parsed.directives.get("syntax", OWN_FRONTEND))
                yield source, scratch, uploaded
            except RpcError:
                raise
            except SkiffError as error:
                raise located(error, content) from error

    async def _return(self, call: Call) -> None:
        build = await self._build_of(call)
        request = await call.request(f"{FRONTEND}.ReturnRequest")
        if request.HasField("error"):
            build.error = RpcError(request.error.code, request.error.message, request.error)
        else:
            refs = [request.result.ref] if request.result.HasField("ref") else list(request.result.refs.refs.values())
            # a map has no order: as they were built
            build.results = [build.image(id) for id in build.in_order(ref.id for ref in refs if ref.id)]
        build.returned.set()
        await call.send(message(f"{FRONTEND}.ReturnResponse")())

    # --- the files of results

    async def _tree(self, call: Call, ref: str) -> Tree:
        build = await self._build_of(call)
        return Tree(self._engine.images.layer_directories(build.image(ref)))

    async def _read_file(self, call: Call) -> None:
        request = await call.request(f"{FRONTEND}.ReadFileRequest")
        entry = (await self._tree(call, request.Ref)).find(request.FilePath)
        if entry is None or not entry.is_file:
            raise RpcError(NOT_FOUND, f"open {request.FilePath}: no such file or directory")
        data = await anyio.Path(entry.location).read_bytes()
        if request.HasField("Range"):
            data = data[request.Range.Offset :][: request.Range.Length or None]
        await call.send(message(f"{FRONTEND}.ReadFileResponse")(Data=data))

    async def _read_directory(self, call: Call) -> None:
        request = await call.request(f"{FRONTEND}.ReadDirRequest")
        tree = await self._tree(call, request.Ref)
        entry = tree.find(request.DirPath)
        if entry is None:
            raise RpcError(NOT_FOUND, f"open {request.DirPath}: no such file or directory")
        answer = message(f"{FRONTEND}.ReadDirResponse")()
        for child in tree.children(entry):
            answer.entries.append(_described(child))
        await call.send(answer)

    async def _stat_file(self, call: Call) -> None:
        request = await call.request(f"{FRONTEND}.StatFileRequest")
        entry = (await self._tree(call, request.Ref)).find(request.Path)
        if entry is None:
            raise RpcError(NOT_FOUND, f"stat {request.Path}: no such file or directory")
        await call.send(message(f"{FRONTEND}.StatFileResponse")(stat=_described(entry)))

    async def _evaluate(self, call: Call) -> None:
        await call.request(f"{FRONTEND}.EvaluateRequest")
        await call.send(message(f"{FRONTEND}.EvaluateResponse")())

    async def _inputs(self, call: Call) -> None:
        await call.request(f"{FRONTEND}.InputsRequest")
        await call.send(message(f"{FRONTEND}.InputsResponse")())

    async def _warn(self, call: Call) -> None:
        build = await self._build_of(call)
        request = await call.request(f"{FRONTEND}.WarnRequest")
        update = build.progress.response()
        update.warnings.add().ParseFromString(request.SerializeToString())
        update.warnings[0].vertex = request.digest
        build.progress.send(update)
        await call.send(message(f"{FRONTEND}.WarnResponse")())

    async def _resolve_image(self, call: Call) -> None:
        build = await self._build_of(call)
        request = await call.request(f"{FRONTEND}.ResolveImageConfigRequest")
        options = options_of({}, ())
        platform = None
        if request.HasField("Platform") and request.Platform.OS:
            wanted = (request.Platform.OS, request.Platform.Architecture, request.Platform.Variant)
            platform = str(Platform.parse("/".join(part for part in wanted if part)))
        with build.progress.vertex(f"[internal] load metadata for {request.Ref}"):
            image = await self._engine.builder.base_image(request.Ref, options, platform, lambda _: None)
        config = self._engine.images.content.read(image.id)
        await call.send(
            message(f"{FRONTEND}.ResolveImageConfigResponse")(Digest=image.id, Config=config, Ref=request.Ref)
        )


def _check_frontend(image: str) -> None:
    """Raise RpcError where a Dockerfile wants another frontend than Docker's own, which is built in."""
    if not image.removeprefix("docker.io/").startswith(OWN_FRONTEND):
        raise RpcError(
            UNIMPLEMENTED, f"the frontend image {image} is not run by this engine: take its `# syntax=` line out"
        )


def _described(entry: Any) -> Any:
    found = entry.info
    kind = 1 << 31 if stat.S_ISDIR(found.st_mode) else 1 << 27 if stat.S_ISLNK(found.st_mode) else 0
    return message("fsutil.types.Stat")(
        path=entry.path.rpartition("/")[2],
        mode=stat.S_IMODE(found.st_mode) & 0o777 | kind,
        uid=found.st_uid,
        gid=found.st_gid,
        size=found.st_size,
        modTime=found.st_mtime_ns,
    )


def located(error: SkiffError, content: Content) -> RpcError:
    """Return a build's error as its client shows it: with the lines of the Dockerfile that it is about."""
    text = error.problem if isinstance(error, DockerfileError) else error.message
    if error.hint:
        text += f"\n    {error.hint}"
    status = message("google.rpc.Status")(code=UNKNOWN, message=text)
    line = getattr(error, "line", 0)
    if line:
        place = {"line": line}
        document = {
            "info": {
                "filename": content.name,
                "data": base64.b64encode(content.data).decode(),
                "language": "Dockerfile",
            },
            "ranges": [{"start": place, "end": place}],
        }
        status.details.add(type_url="github.com/moby/buildkit/errdefs.Source+json", value=json.dumps(document).encode())
    return RpcError(UNKNOWN, status.message, status)
