"""A build from beginning to end: read, plan, build the stages side by side, register and tag the image."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import anyio

from runtime.build import instructions as ins
from runtime.build.archive import unpack_context
from runtime.build.cache import BuildCache, step_key
from runtime.build.errors import DockerfileError, suggestion
from runtime.build.expansion import expand
from runtime.build.graph import PlannedStage, plan_stages, stage_index
from runtime.build.ignore import Ignore
from runtime.build.lines import read_source
from runtime.build.options import BuildOptions
from runtime.build.output import Emit, OutputOrder
from runtime.build.parser import parse, parse_instruction
from runtime.build.runner import StepRunner
from runtime.build.scratch import Scratch
from runtime.build.selection import Sources
from runtime.build.stage import PREDEFINED_ARGUMENTS, StageBuilder, StageState, Workshop
from runtime.build.tree import Tree
from runtime.errors import BadRequestError, NotFoundError, SkiffError
from runtime.image.images import Image, Images, now
from runtime.image.reference import Reference
from runtime.paths import Paths
from runtime.store import Store

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
SCRATCH_IMAGE = "scratch"


class Puller(Protocol):
    """Fetches an image that a FROM names."""

    async def __call__(self, reference: Reference, platform: str | None, progress: Emit) -> Image:
        """Return the image, pulled; `progress` takes Docker's JSON messages. Raises EngineError."""
        ...


class Builder:
    """Builds images of one engine; builds may run side by side."""

    def __init__(self, paths: Paths, store: Store, images: Images, run: StepRunner, pull: Puller | None = None) -> None:
        self._paths = paths
        self._images = images
        self._cache = BuildCache(store, images.has_layer)
        self._runner = run
        self._pull = pull
        self._commit_lock = anyio.Lock()

    async def build(self, context: Path, options: BuildOptions) -> AsyncGenerator[dict[str, Any], None]:
        """Build the directory `context`; yield Docker's JSON messages, the last of them the image's ID or the error.

        Raises BadRequestError before the first message when the Dockerfile cannot be read or the request is wrong. To
        cancel, cancel the task that iterates; use `contextlib.aclosing` when leaving early.
        """
        dockerfile = read_dockerfile(context, options)
        _references(options)
        messages_in, messages = anyio.create_memory_object_stream[dict[str, Any]](math.inf)
        async with anyio.create_task_group() as group, messages:
            group.start_soon(self._build_and_tell, dockerfile, context, options, messages_in)
            async for message in messages:
                yield message

    async def build_archive(
        self, archive: AsyncIterator[bytes], options: BuildOptions
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Build a context that comes as a tar stream (plain, gzip, bzip2 or xz), as the Docker Engine API sends it.

        Yields and raises as `build` does; also BadRequestError, before the first message, for a broken archive.
        """
        with Scratch(self._paths, self._commit_lock).directory() as context:
            await unpack_context(archive, context)
            async with aclosing(self.build(context, options)) as messages:
                async for message in messages:
                    yield message

    async def _build_and_tell(
        self, dockerfile: ins.Dockerfile, context: Path, options: BuildOptions, messages: Any
    ) -> None:
        async with messages:
            try:
                await self.run(dockerfile, context, options, messages.send_nowait)
            except SkiffError as error:
                detail: dict[str, Any] = {"message": str(error)}
                if isinstance(error, DockerfileError) and error.exit_code is not None:
                    detail["code"] = error.exit_code
                messages.send_nowait({"errorDetail": detail, "error": str(error)})

    async def run(self, dockerfile: ins.Dockerfile, context: Path, options: BuildOptions, emit: Emit) -> Image:
        """Build and tag the image that `options` ask for, telling each step to `emit`. Raises SkiffError."""
        references = _references(options)
        build = _Build(self, dockerfile, context, options, emit)
        async with self._images.garbage.held_off():
            state = await build.target_state()
            image = self._register(state, options)
            for reference in references:
                self._images.tag(image, reference)
        for name in build.unused_arguments():
            emit({"stream": f"[Warning] One or more build-args [{name}] were not consumed\n"})
        emit({"aux": {"ID": image.id}})
        emit({"stream": f"Successfully built {image.id.removeprefix('sha256:')[:12]}\n"})
        for reference in references:
            emit({"stream": f"Successfully tagged {reference.familiar}\n"})
        return image

    def _register(self, state: StageState, options: BuildOptions) -> Image:
        state = state.successor()
        config, created = state.config, state.created or now()
        if options.labels:
            config = {**config, "Labels": {**(config.get("Labels") or {}), **options.labels}}
        document = {
            **state.document,
            "created": created,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": state.diff_ids},
            "history": state.history,
        }
        return self._images.register(document)

    async def base_image(self, name: str, options: BuildOptions, platform: str | None, emit: Emit) -> Image:
        """Return the image `name`, pulled when it is missing or when the build asks for that."""
        if not options.pull or self._pull is None:
            with suppress(NotFoundError):
                return self._images.resolve(name)
            if self._pull is None:
                return self._images.resolve(name)
        return await self._pull(Reference.parse(name), platform or options.platform, emit)

    def workshop(
        self, build: _Build, context: Path, arguments: Mapping[str, str], used_arguments: set[str]
    ) -> Workshop:
        """Return what the stages of `build` share."""
        ignore = read_ignore(context, build.options.dockerfile)
        return Workshop(
            build.dockerfile,
            build.options,
            Sources(Tree((context,)), ignore),
            arguments,
            self._images,
            self._cache,
            self._runner,
            Scratch(self._paths, self._commit_lock),
            build,
            used_arguments,
        )

    def layer_path(self, diff_id: str) -> Path:
        """Return the directory of a layer."""
        return self._images.layer_path(diff_id)

    def layers_of(self, image: Image) -> tuple[Path, ...]:
        """Return an image's layer directories, topmost first."""
        return self._images.layer_directories(image)


class _Build:
    """One build under way: the stages' states, each with the event that says it is there."""

    def __init__(
        self, builder: Builder, dockerfile: ins.Dockerfile, context: Path, options: BuildOptions, emit: Emit
    ) -> None:
        self.builder = builder
        self.dockerfile = dockerfile
        self.options = options
        self._emit = emit
        self._used: set[str] = set()
        self._arguments = _global_arguments(dockerfile, options, self._used)
        self._planned, self._target = plan_stages(dockerfile, options.target, self._arguments)
        self._states: dict[int, StageState] = {}
        self._ready = {planned.stage.index: anyio.Event() for planned in self._planned}
        self._order = OutputOrder(emit, [planned.stage.index for planned in self._planned])
        self._workshop = builder.workshop(self, context, self._arguments, self._used)
        total = sum(1 + len(planned.stage.instructions) for planned in self._planned)
        numbers = iter(range(1, total + 1))
        self._numbers = {
            planned.stage.index: [f"{next(numbers)}/{total}" for _ in range(1 + len(planned.stage.instructions))]
            for planned in self._planned
        }

    async def target_state(self) -> StageState:
        """Build every stage that the target needs; return the target's. Raises the first stage's error."""
        try:
            async with anyio.create_task_group() as group:
                for planned in self._planned:
                    group.start_soon(self._stage, planned)
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        return self._states[self._target]

    def unused_arguments(self) -> list[str]:
        """Return the build arguments that no ARG took."""
        return sorted(set(self.options.build_args) - self._used - set(PREDEFINED_ARGUMENTS))

    async def _stage(self, planned: PlannedStage) -> None:
        for index in planned.needs:
            await self._ready[index].wait()
        stage = planned.stage
        output = self._order.of(stage.index)
        numbers = self._numbers[stage.index]
        output.write(f"Step {numbers[0]} : {stage.base.text}\n")
        try:
            state = await self._base(planned)
            triggers = state.config.pop("OnBuild", None) or []
            builder = StageBuilder(
                self._workshop, stage.index, state, output, [*["ONBUILD"] * len(triggers), *numbers[1:]]
            )
            await builder.build((*self._triggers(triggers, stage), *stage.instructions))
        except SkiffError:
            self._order.fail(stage.index)
            raise
        self._states[stage.index] = builder.state
        self._order.finish(stage.index)
        self._ready[stage.index].set()

    def _triggers(self, triggers: list[str], stage: ins.Stage) -> tuple[ins.Instruction, ...]:
        instructions = []
        for text in triggers:
            for line in read_source(text).lines:
                # a mistake in a trigger is told at the FROM that brought it
                instructions.append(replace(parse_instruction(line), line=stage.base.line))
        return tuple(instructions)

    async def _base(self, planned: PlannedStage) -> StageState:
        if planned.base_stage is not None:
            return copy.deepcopy(self._states[planned.base_stage].successor())
        machine = os.uname().machine
        document: dict[str, Any] = {"architecture": _ARCHITECTURES.get(machine, machine), "os": "linux"}
        if planned.base == SCRATCH_IMAGE:
            return StageState(document, {}, [], [], step_key("", SCRATCH_IMAGE))
        platform = planned.stage.base.platform
        platform = expand(platform, self._arguments) if platform else None
        try:
            image = await self.builder.base_image(planned.base, self.options, platform, self._emit)
        except SkiffError as error:
            names = [other.base.name for other in self.dockerfile.stages[: planned.stage.index] if other.base.name]
            hint = suggestion(planned.base, names) or error.hint
            raise DockerfileError(error.message, planned.stage.base.line, hint, file=self.dockerfile.name) from error
        if image.rootfs is not None:
            raise DockerfileError(
                f"{planned.base} is a plain directory, which no image can be built on",
                planned.stage.base.line,
                "import it first: tar it and `docker import` the archive",
                file=self.dockerfile.name,
            )
        kept = {name: copy.deepcopy(value) for name, value in image.config.items() if name not in _PER_IMAGE}
        return StageState(
            {**document, **kept},
            copy.deepcopy(image.defaults),
            list(image.diff_ids),
            copy.deepcopy(image.config.get("history") or []),
            step_key("", image.id),
            created=image.config.get("created") or "",
        )

    async def layers_of(self, name: str, before: int) -> tuple[tuple[Path, ...], str]:
        """Return the directories and the identity of the stage or image `name`."""
        index = stage_index(self.dockerfile, name, before)
        if index is not None:
            state = self._states[index]
            return tuple(self.builder.layer_path(diff_id) for diff_id in reversed(state.diff_ids)), state.key
        try:
            image = await self.builder.base_image(name, self.options, None, self._emit)
        except SkiffError as error:
            names = [stage.base.name for stage in self.dockerfile.stages[:before] if stage.base.name]
            hint = suggestion(name, names) or error.hint
            raise DockerfileError(f"{name!r} is neither an earlier stage nor an image here", hint=hint) from error
        return self.builder.layers_of(image), image.id


_PER_IMAGE = ("config", "rootfs", "history", "created", "id", "parent", "container", "container_config")


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _references(options: BuildOptions) -> list[Reference]:
    return [Reference.parse(tag) for tag in options.tags]


def _global_arguments(dockerfile: ins.Dockerfile, options: BuildOptions, used: set[str]) -> dict[str, str]:
    """Return the arguments that FROM lines see: the platform's and those declared before the first FROM."""
    machine = os.uname().machine
    architecture = _ARCHITECTURES.get(machine, machine)
    arguments: dict[str, str] = {}
    for side in ("BUILD", "TARGET"):
        arguments |= {f"{side}PLATFORM": f"linux/{architecture}", f"{side}OS": "linux", f"{side}ARCH": architecture}
        arguments[f"{side}VARIANT"] = ""
    for instruction in dockerfile.arguments:
        for name, default in instruction.arguments:
            if (given := options.build_args.get(name)) is not None:
                arguments[name] = given
                used.add(name)
            elif default is not None:
                try:
                    arguments[name] = expand(default, arguments, dockerfile.escape)
                except DockerfileError as error:
                    raise error.in_file(dockerfile.name, instruction.line) from None
    return arguments


def read_dockerfile(context: Path, options: BuildOptions) -> ins.Dockerfile:
    """Read and parse the Dockerfile of a build. Raises DockerfileError, BadRequestError when there is none."""
    if options.dockerfile_text is not None:
        return parse(options.dockerfile_text, options.dockerfile)
    tree = Tree((context,))
    entry = tree.find(options.dockerfile)
    if entry is None or not entry.is_file:
        names = [child.path.lstrip("/") for child in tree.children(tree.root) if child.is_file]
        near = (
            suggestion(options.dockerfile, names) or "name another file with -f, or `dockerfile:` in the Compose file"
        )
        raise BadRequestError(f"Cannot locate specified Dockerfile: {options.dockerfile}", near)
    return parse(Path(entry.location).read_text(encoding="utf-8", errors="replace"), options.dockerfile)


def read_ignore(context: Path, dockerfile: str) -> Ignore:
    """Return the rules of `<Dockerfile>.dockerignore`, else of `.dockerignore`, else none."""
    tree = Tree((context,))
    for name in (f"{dockerfile}.dockerignore", ".dockerignore"):
        entry = tree.find(name)
        if entry is not None and entry.is_file:
            return Ignore.parse(tree.read_text(name), name)
    return Ignore()
