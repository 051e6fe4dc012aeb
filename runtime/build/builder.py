"""A build from beginning to end: read, plan, build the stages side by side, register and tag the image."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import anyio

from runtime.build import configure
from runtime.build import instructions as ins
from runtime.build.archive import unpack_context
from runtime.build.arguments import epoch, global_arguments, target_platform, unused
from runtime.build.cache import INLINE, BuildCache, inline_cache, step_key
from runtime.build.cache_mounts import CacheMounts
from runtime.build.configure import with_path
from runtime.build.contexts import NamedContext
from runtime.build.errors import DockerfileError, suggestion
from runtime.build.expansion import expand
from runtime.build.graph import PlannedStage, plan_stages, reads_from, source_index, stage_index
from runtime.build.history import dated
from runtime.build.lint import ARGUMENT, Lint, Options, check_file
from runtime.build.options import BuildOptions
from runtime.build.output import Emit, OutputOrder
from runtime.build.parser import parse_trigger
from runtime.build.prune import prune
from runtime.build.request import BuildRequest, read_ignore, read_request, read_stream
from runtime.build.runner import StepRunner
from runtime.build.scratch import Scratch
from runtime.build.selection import Sources
from runtime.build.stage import StageBuilder, StageState, Workshop
from runtime.build.tree import Tree
from runtime.errors import BadRequestError, NotFoundError, SkiffError
from runtime.image.images import Image, Images, now
from runtime.image.manifest import Platform
from runtime.image.reference import Reference
from runtime.image.transfers import KeyedLocks, together
from runtime.paths import Paths
from runtime.space import disk_full_error
from runtime.store import Store
from runtime.streaming import Send, send_reports

SCRATCH_IMAGE = "scratch"


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
            request = await anyio.to_thread.run_sync(read_stream, context, options, directory)
            await self._build(request, send)

    async def _build(self, request: BuildRequest, send: Send[dict[str, Any]]) -> None:
        _check(request.options)
        try:
            await send_reports(partial(self.run, request), send)
        except SkiffError as error:
            detail: dict[str, Any] = {"message": str(error)}
            if isinstance(error, DockerfileError) and error.exit_code is not None:
                detail["code"] = error.exit_code
            await send({"errorDetail": detail, "error": str(error)})
        except OSError as error:
            if (full := disk_full_error(error, self._paths)) is None:
                raise
            await send({"errorDetail": {"message": str(full)}, "error": str(full)})

    async def run(self, request: BuildRequest, emit: Emit) -> Image:
        """Build and tag the image that `request` asks for, telling each step to `emit`. Raises SkiffError."""
        options = request.options
        references = [Reference.parse(tag) for tag in options.tags]
        tell = _nothing if options.quiet else emit
        async with self._images.garbage.held_off():
            await self._learn(options, tell)
            with self._scratch.directory() as directory:
                build = _Build(self, request, directory, tell)
                state = await build.target_state()
            image = await self._register(state, options)
            for reference in references:
                self._images.tag(image, reference)
            await self._store.flush()
        for name in unused(options, build.used_arguments):
            tell({"stream": f"[Warning] One or more build-args [{name}] were not consumed\n"})
        emit({"aux": {"ID": image.id}})
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
        document = {
            **state.document,
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

    def workshop(self, build: _Build, downloads: Path) -> Workshop:
        """Return what the stages of `build` share."""
        request = build.request
        return Workshop(
            request.dockerfile,
            request.options,
            Sources(Tree((request.context,)), request.ignore),
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
        )

    def stacked(self, diff_ids: Sequence[str]) -> tuple[Path, ...]:
        """Return the directories of layers (see `Images.stacked`)."""
        return self._images.stacked(diff_ids)

    def layers_of(self, image: Image) -> tuple[Path, ...]:
        """Return an image's layer directories, topmost first."""
        return self._images.layer_directories(image)

    async def prune(self, *, before: str | None = None, keep_bytes: int = 0) -> tuple[list[str], int]:
        """Remove what builds left (see `runtime.build.prune`)."""
        return await prune(self.cache, self.caches, self._images, before=before, keep_bytes=keep_bytes)


class _Build:
    """One build under way: the stages' states, each with the event that says it is there."""

    def __init__(self, builder: Builder, request: BuildRequest, directory: Path, emit: Emit) -> None:
        self.builder = builder
        self.request = request
        self.dockerfile = request.dockerfile
        self.options = request.options
        self._emit = emit
        self.used_arguments: set[str] = set()
        self.arguments = global_arguments(self.dockerfile, self.options, self.used_arguments)
        self.lint = lint_of(self.dockerfile, self.options, emit)
        check_file(self.dockerfile, self.arguments, self.lint)
        self._planned, self._target = plan_stages(
            self.dockerfile, self.options.target, self.arguments, request.contexts
        )
        self._states: dict[int, StageState] = {}
        self._ready = {planned.stage.index: anyio.Event() for planned in self._planned}
        self._order = OutputOrder(emit, [planned.stage.index for planned in self._planned])
        self._workshop = builder.workshop(self, directory)
        total = sum(1 + len(planned.stage.instructions) for planned in self._planned)
        numbers = iter(range(1, total + 1))
        self._numbers = {
            planned.stage.index: [f"{next(numbers)}/{total}" for _ in range(1 + len(planned.stage.instructions))]
            for planned in self._planned
        }

    async def target_state(self) -> StageState:
        """Build every stage that the target needs; return the target's. Raises the first stage's error."""
        async with together() as group:
            for planned in self._planned:
                group.start_soon(self._stage, planned)
        self.lint.check()
        return self._states[self._target]

    async def _stage(self, planned: PlannedStage) -> None:
        for index in planned.needs:
            await self._ready[index].wait()
        stage = planned.stage
        output = self._order.of(stage.index)
        numbers = self._numbers[stage.index]
        output.write(f"Step {numbers[0]} : {stage.base.text}\n")
        try:
            state, first = await self._base(planned)
            triggers = [*first, *await self._triggers(state.config.pop("OnBuild", None) or [], stage)]
            builder = StageBuilder(
                self._workshop, stage.index, state, output, [*["ONBUILD"] * len(triggers), *numbers[1:]]
            )
            if stage.name in self._workshop.options.no_cache_filter:
                builder.ignore_cache()
            await builder.build((*triggers, *stage.instructions))
        except SkiffError:
            self._order.fail(stage.index)
            raise
        self._states[stage.index] = builder.state
        self._order.finish(stage.index)
        self._ready[stage.index].set()

    async def _triggers(self, triggers: list[str], stage: ins.Stage) -> list[ins.Instruction]:
        """Return what ONBUILD of the base brings into `stage`, once the stages that it reads from are there."""
        # a mistake in a trigger is told at the FROM that brought it
        instructions = [one for text in triggers for one in parse_trigger(text, stage.base.line)]
        for source in (source for one in instructions for source in reads_from(one)):
            index = None
            if source not in self.request.contexts:
                index = source_index(self.dockerfile, source, stage, stage.base.line)
            if index is None:
                continue
            if index not in self._ready:  # the base is an image: what it triggers was not known when stages were chosen
                raise DockerfileError(
                    f"the base image's ONBUILD copies from the stage {source!r}, which nothing else in the build needs",
                    stage.base.line,
                    f"copy something from it in a stage that is built, or name it as the target: --target {source}",
                    file=self.dockerfile.name,
                )
            await self._ready[index].wait()
        return instructions

    async def _base(self, planned: PlannedStage) -> tuple[StageState, list[ins.Instruction]]:
        """Return what a stage begins with, and what is to be done first: a context's directory is copied."""
        if planned.base_stage is not None:
            return copy.deepcopy(self._states[planned.base_stage]).successor(), []
        line = planned.stage.base.line
        platform = planned.stage.base.platform
        platform = expand(platform, self.arguments) if platform else None
        target = Platform.parse(platform) if platform else target_platform(self.options)
        document: dict[str, Any] = {"architecture": target.architecture, "os": target.os}
        if target.variant:
            document["variant"] = target.variant
        context = self.request.contexts.get(planned.base)
        if planned.base == SCRATCH_IMAGE or (context is not None and context.directory is not None):
            config = with_path({"WorkingDir": "/"})
            state = StageState(document, config, [], [], step_key("", SCRATCH_IMAGE), configure.environment(config))
            copied = ins.Copy(planned.stage.base.text, line, ("/",), "/", from_stage=planned.base)
            return state, [] if context is None else [copied]
        image = await self._image(planned, context, platform)
        kept = {name: copy.deepcopy(value) for name, value in image.config.items() if name not in _PER_IMAGE}
        actual = Platform.of(image.config)
        if (actual.os, actual.architecture) != (target.os, target.architecture):
            message = (
                f'Base image {planned.base} was pulled with platform "{actual}", expected "{target}" for current build'
            )
            self.lint.warn("InvalidBaseImagePlatform", message, line)
        config = with_path(copy.deepcopy(image.defaults))
        state = StageState(
            {**document, **kept},
            config,
            list(image.diff_ids),
            copy.deepcopy(image.config.get("history") or []),
            step_key("", image.id),
            configure.environment(config),
            created=image.config.get("created") or "",
        )
        return state, []

    async def _image(self, planned: PlannedStage, context: NamedContext | None, platform: str | None) -> Image:
        name = context.image if context is not None else planned.base
        line = planned.stage.base.line
        try:
            image = await self.builder.base_image(name, self.options, platform, self._emit)
        except SkiffError as error:
            names = [other.base.name for other in self.dockerfile.stages[: planned.stage.index] if other.base.name]
            hint = suggestion(planned.base, names) or error.hint
            raise DockerfileError(error.message, line, hint, file=self.dockerfile.name) from error
        if image.rootfs is not None:
            raise DockerfileError(
                f"{name} is a plain directory, which no image can be built on",
                line,
                "import it first: tar it and `docker import` the archive",
                file=self.dockerfile.name,
            )
        return image

    async def sources_of(self, name: str, before: int) -> tuple[Sources, str]:
        """Return the files of the named context, stage or image `name`, and its identity (see `stage.Origins`)."""
        context = self.request.contexts.get(name)
        if context is not None and context.directory is not None:
            description = f"the build context {context.name!r}"
            ignore = read_ignore(context.directory, "Dockerfile")
            return Sources(Tree((context.directory,)), ignore, description), ""
        index = stage_index(self.dockerfile, name) if context is None else None
        if index is not None:
            state = self._states[index]
            return Sources(Tree(self.builder.stacked(state.diff_ids)), description=repr(name)), state.key
        try:
            wanted = name if context is None else context.image
            image = await self.builder.base_image(wanted, self.options, None, self._emit)
        except SkiffError as error:
            names = [stage.base.name for stage in self.dockerfile.stages[:before] if stage.base.name]
            hint = suggestion(name, names) or error.hint
            raise DockerfileError(
                f"{name!r} is no earlier stage, and as an image it can't be had: {error.message}", hint=hint
            ) from error
        return Sources(Tree(self.builder.layers_of(image)), description=repr(name)), image.id


def lint_of(dockerfile: ins.Dockerfile, options: BuildOptions, emit: Emit) -> Lint:
    """Return what takes a build's warnings. Raises DockerfileError for a directive that can't be read."""
    written = options.build_args.get(ARGUMENT) or dockerfile.directives.get("check") or ""
    try:
        return Lint(Options.parse(written), lambda text: emit({"stream": text}))
    except DockerfileError as error:
        raise error.in_file(dockerfile.name) from None


_PER_IMAGE = ("config", "rootfs", "history", "created", "id", "parent", "container", "container_config", INLINE)


def _nothing(message: dict[str, Any]) -> None:
    """Tell nobody."""


def _check(options: BuildOptions) -> None:
    """Refuse, before anything is done, what can't be. Raises BadRequestError."""
    for tag in options.tags:
        if Reference.parse(tag).digest is not None:
            raise BadRequestError(f"invalid tag {tag!r}: an image is tagged by a name, not by a digest")
    epoch(options)
    target_platform(options)
