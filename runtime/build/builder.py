"""A build from beginning to end: read, plan, build the stages side by side, register and tag the image."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import anyio

from runtime.build.archive import unpack_context
from runtime.build.arguments import epoch, target_platform, unused
from runtime.build.cache import INLINE, BuildCache, CachedUnder, inline_cache
from runtime.build.cache_mounts import CacheMounts
from runtime.build.checking import check_dockerfile
from runtime.build.classic import ClassicOutputs, ending, reworded, unreadable
from runtime.build.client_directory import ClientDirectory, reading
from runtime.build.copies import ContextCopies
from runtime.build.errors import DockerfileError
from runtime.build.git import GitFetcher
from runtime.build.graph import PlannedStage, stage_number
from runtime.build.history import dated
from runtime.build.options import BuildOptions
from runtime.build.output import Emit, Outputs, drop
from runtime.build.prune import prune
from runtime.build.request import BuildRequest, read_clients, read_request, read_stream
from runtime.build.runner import StepRunner
from runtime.build.scratch import Scratch
from runtime.build.session import BuildSession, MakeOutputs, platform_members
from runtime.build.stage import StageState, Workshop
from runtime.errors import BadRequestError, NotFoundError, SkiffError
from runtime.image.images import Image, Images, now
from runtime.image.manifest import Platform
from runtime.image.reference import Reference
from runtime.image.transfers import KeyedLocks
from runtime.paths import Paths
from runtime.space import disk_full_error
from runtime.store import Store
from runtime.streaming import Send, send_reports


class Puller(Protocol):
    """Fetches an image that a FROM names."""

    async def __call__(
        self, reference: Reference, platform: str | None, progress: Emit, auth: Mapping[str, str] | None
    ) -> Image:
        """Return the image, pulled with the credentials `auth` (an X-Registry-Auth document; None for none).

        `progress` takes Docker's JSON messages. Raises EngineError.
        """
        ...


class Builder:
    """Builds images of one engine; builds may run side by side."""

    def __init__(self, paths: Paths, store: Store, images: Images, run: StepRunner, pull: Puller | None = None) -> None:
        self._paths = paths
        self._images = images
        self._store = store
        self._pull = pull
        self._scratch = Scratch(paths, images.trash, anyio.Lock())
        self.cache = BuildCache(store, images.has_layer)
        self.caches = CacheMounts(paths, images.trash)
        self.runner = run
        self.under_way = KeyedLocks()

    async def build(self, context: Path, options: BuildOptions, send: Send[dict[str, Any]]) -> None:
        """Build the directory `context`; send Docker's JSON messages, the last of them the image's ID or the error.

        Raises BadRequestError before the first message when the Dockerfile cannot be read or the request is wrong.
        """
        await self._build(read_request(context, options), send)

    async def build_archive(
        self, archive: AsyncIterator[bytes], options: BuildOptions, send: Send[dict[str, Any]]
    ) -> None:
        """Build a context that comes as a tar stream (plain or compressed), as the Docker Engine API sends it.

        Sends and raises as `build` does; also BadRequestError, before the first message, for a broken archive.
        """
        with self._scratch.directory() as directory:
            context = directory / "context"
            context.mkdir()
            await unpack_context(archive, context)
            try:
                request = await anyio.to_thread.run_sync(read_stream, context, options, directory)
                stage_number(request.dockerfile, options.target)
            except BadRequestError as error:
                raise unreadable(error) if options.is_classic else error from None
            await self._build(request, send)

    async def build_clients(
        self,
        clients: Mapping[str, ClientDirectory],
        archive: AsyncIterator[bytes],
        options: BuildOptions,
        send: Send[dict[str, Any]],
    ) -> None:
        """Build directories of the client's where they lie (see `read_clients`); `archive` has what is sent along.

        Sends and raises as `build_archive` does.
        """
        with self._scratch.directory() as directory:
            await unpack_context(archive, directory)
            with reading():
                request = await anyio.to_thread.run_sync(read_clients, directory, options, clients)
            await self._build(request, send)

    async def _build(self, request: BuildRequest, send: Send[dict[str, Any]]) -> None:
        _check(request.options)
        try:
            if request.options.check:
                await self._check_only(request, send)
            else:
                await send_reports(partial(self.run, request), send)
        except SkiffError as error:
            told = reworded(error) if request.options.is_classic else error
            detail: dict[str, Any] = {**told.document()}
            if isinstance(error, DockerfileError) and error.exit_code is not None:
                detail["code"] = error.exit_code
            await send({"errorDetail": detail, "error": told.message})
        except OSError as error:
            if (full := disk_full_error(error, self._paths)) is None:
                raise
            await send({"errorDetail": full.document(), "error": full.message})

    async def _check_only(self, request: BuildRequest, send: Send[dict[str, Any]]) -> None:
        """Send what a build would warn of. Raises DockerfileError when there is anything."""
        found = list(check_dockerfile(request.dockerfile, request.options).found)
        for rule, text, line in found:
            await send({"stream": f"{rule}: {text} (line {line})\n"})
        if found:
            count = "1 warning" if len(found) == 1 else f"{len(found)} warnings"
            raise DockerfileError(f"{count} found", file=request.dockerfile.name)
        await send({"stream": "Check complete, no warnings found.\n"})

    async def run(
        self,
        request: BuildRequest,
        emit: Emit,
        outputs: MakeOutputs | None = None,
        steps: list[CachedUnder] | None = None,
    ) -> Image:
        """Build and tag the image that `request` asks for, reporting each step to `emit`. Raises SkiffError.

        `outputs` makes what the stages write to; without it, they write to `emit` one after the other. `steps` takes the
        steps of all stages.
        """
        options = request.options
        references = [Reference.parse(tag) for tag in options.tags]
        tell = drop if options.quiet else emit
        classic: list[ClassicOutputs] = []

        def classic_outputs(planned: Sequence[PlannedStage], target: int) -> Outputs:
            classic.append(ClassicOutputs(tell, request.dockerfile, options, self.cache.was_done, planned, target))
            return classic[0]

        if options.is_classic and outputs is None:
            outputs = classic_outputs
        async with self._images.garbage.held_off():
            await self._learn(options, tell)
            with self._scratch.directory() as directory:
                contexts = await request.contexts.fetched(GitFetcher(directory, options))
                build = BuildSession(self, replace(request, contexts=contexts), directory, tell, outputs)
                state = await build.target_state()
            if steps is not None:
                steps += build.cached_steps()
            image = await self._register(state, options)
            for reference in references:
                self._images.tag(image, reference)
            await self._store.flush()
        for text in ending(options, classic[0], image.id) if classic else ():
            tell({"stream": text})
        if not options.is_classic or not options.quiet:
            emit({"aux": {"ID": image.id}})
        for name in unused(options, build.used_arguments):
            tell({"stream": f"[Warning] One or more build-args [{name}] were not consumed\n"})
        if options.quiet:
            emit({"stream": f"{image.id}\n"})
        tell({"stream": f"Successfully built {image.id.removeprefix('sha256:')[:12]}\n"})
        for reference in references:
            tell({"stream": f"Successfully tagged {reference.familiar}\n"})
        return image

    async def _learn(self, options: BuildOptions, emit: Emit) -> None:
        """Take over the steps of the images that the build may take from."""
        for name in options.cache_from:
            try:
                image = await self.base_image(name, options, None, emit, is_renewed=False)
            except SkiffError as error:
                emit({"stream": f"[Warning] nothing is taken from {name}: {error.message}\n"})
                continue
            self.cache.learn(image.config)

    async def _register(self, state: StageState, options: BuildOptions) -> Image:
        state = state.successor()
        config, created = state.config, state.created or now()
        history = dated(state.history, created)
        if options.labels:
            config = {**config, "Labels": {**(config.get("Labels") or {}), **options.labels}}
        cached = inline_cache(state.cached)
        if (seconds := epoch(options)) is not None:
            created = datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
            history = [{**entry, "created": min(entry.get("created") or created, created)} for entry in history]
            cached = [{**entry, "created": created} for entry in cached]
        platform = platform_members(target_platform(options)) if options.platform else {}
        document = {
            **{name: value for name, value in state.document.items() if name != "variant" or not platform},
            # a platform that was asked for is the image's, whatever the base's own is
            **platform,
            "created": created,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": state.diff_ids},
            "history": history,
            INLINE: cached,
        }
        return await self._images.register(document)

    async def base_image(
        self, name: str, options: BuildOptions, platform: str | None, emit: Emit, *, is_renewed: bool = True
    ) -> Image:
        """Return the image `name` for `platform` (the build's when None).

        It is pulled when it is missing or is one for another platform, and, unless `is_renewed` says otherwise, when the
        build asks for that. Raises EngineError.
        """
        wanted = platform or options.platform
        if not (options.pull and is_renewed) or self._pull is None:
            with suppress(NotFoundError):
                image = self._images.resolve(name)
                actual = Platform.of(image.config)
                if not wanted or image.rootfs is not None or actual.rank(Platform.parse(wanted)) is not None:
                    return await self._images.whole(image)
                if self._pull is None:
                    raise BadRequestError(f"{name} is here for {actual}, not for {wanted}")
        if self._pull is None:
            return self._images.resolve(name)
        reference = Reference.parse(name)
        pulled = await self._pull(reference, wanted, emit, options.credentials.get(reference.domain))
        return await self._images.whole(pulled)

    def workshop(self, build: BuildSession, downloads: Path) -> Workshop:
        """Return what the stages of `build` share."""
        request = build.request
        return Workshop(
            request.dockerfile,
            request.options,
            request.sources,
            build.arguments,
            self._images,
            self.cache,
            self.runner,
            self._scratch,
            build,
            build.used_arguments,
            self.caches,
            self.under_way,
            downloads,
            build.lint,
            ContextCopies(downloads),
        )

    def stacked(self, diff_ids: Sequence[str]) -> tuple[Path, ...]:
        """Return the directories of layers (see `Images.stacked`)."""
        return self._images.stacked(diff_ids)

    def layers_of(self, image: Image) -> tuple[Path, ...]:
        """Return an image's layer directories, topmost first."""
        return self._images.layer_directories(image)

    async def prune(
        self, *, before: str | None = None, keep_bytes: int = 0, report: Callable[[str], None] | None = None
    ) -> tuple[list[str], int]:
        """Remove what builds left (see `runtime.build.prune`)."""
        return await prune(self.cache, self.caches, self._images, before=before, keep_bytes=keep_bytes, report=report)


def _check(options: BuildOptions) -> None:
    """Refuse, before anything is done, what can't be. Raises BadRequestError."""
    for tag in options.tags:
        if Reference.parse(tag).digest is not None:
            raise BadRequestError(f"invalid tag {tag!r}: an image is tagged by a name, not by a digest")
    epoch(options)
    target_platform(options)
