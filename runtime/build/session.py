"""One build under way: its stages side by side, each once those that it needs are there."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from runtime.build import instructions as ins
from runtime.build.arguments import global_arguments, target_platform
from runtime.build.cache import INLINE, CachedUnder, step_key
from runtime.build.configure import with_path
from runtime.build.contexts import NamedContext
from runtime.build.errors import DockerfileError, suggestion
from runtime.build.expansion import expand
from runtime.build.graph import PlannedStage, plan_stages, reads_from, source_index, stage_index
from runtime.build.lint import check_file, lint_of
from runtime.build.output import Emit, OutputOrder, Outputs, StageOutput, drop
from runtime.build.parser import parse_trigger
from runtime.build.request import BuildRequest, read_ignore
from runtime.build.selection import Sources
from runtime.build.stage import StageBuilder, StageState
from runtime.build.tree import Tree
from runtime.container.spec import environment_of
from runtime.errors import SkiffError
from runtime.image.images import Image
from runtime.image.manifest import Platform
from runtime.image.transfers import together

if TYPE_CHECKING:
    from runtime.build.builder import Builder

SCRATCH_IMAGE = "scratch"
_PER_IMAGE = (
    "config", "rootfs", "history", "created", "id", "parent", "container", "container_config", "variant", INLINE,
)  # fmt: skip
"""Members of an image's configuration that are not taken over by one that is built on it."""


MakeOutputs = Callable[[Sequence[PlannedStage], int], Outputs]
"""Makes the outputs of the stages that are built, of which one (by its index) is the target."""


class BuildSession:
    """The stages' states, each with the event that says it is there."""

    def __init__(
        self, builder: Builder, request: BuildRequest, directory: Path, emit: Emit, outputs: MakeOutputs | None = None
    ) -> None:
        self.builder = builder
        self.request = request
        self.dockerfile = request.dockerfile
        self.options = request.options
        self._emit = emit
        self.used_arguments: set[str] = set()
        self.arguments = global_arguments(self.dockerfile, self.options, self.used_arguments)
        warn: Emit = drop if self.options.is_classic else emit
        self.lint = lint_of(self.dockerfile, self.options, lambda text: warn({"stream": text}))
        check_file(self.dockerfile, self.arguments, self.lint)
        self._planned, self._target = plan_stages(
            self.dockerfile, self.options.target, self.arguments, request.contexts
        )
        self._states: dict[int, StageState] = {}
        self._ready = {planned.stage.index: anyio.Event() for planned in self._planned}
        self._order: Outputs = (
            OutputOrder({planned.stage.index: StageOutput(emit) for planned in self._planned})
            if outputs is None
            else outputs(self._planned, self._target)
        )
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

    def cached_steps(self) -> list[CachedUnder]:
        """Return the steps of all stages, each once."""
        return list({one.key: one for state in self._states.values() for one in state.cached}.values())

    async def _stage(self, planned: PlannedStage) -> None:
        for index in planned.needs:
            await self._ready[index].wait()
        stage = planned.stage
        output = self._order.of(stage.index)
        numbers = self._numbers[stage.index]
        output.begin_step(numbers[0], stage.base)
        try:
            try:
                state, first = await self._base(planned)
            except (SkiffError, OSError) as error:
                output.end_step(error)
                raise
            output.end_step(identity=state.identity)
            triggers = [*first, *await self._triggers(state.config.pop("OnBuild", None) or [], stage)]
            if triggers:
                output.begin_triggers(len(triggers))
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
        # a mistake in a trigger is reported at the FROM that brought it
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
        """Return what a stage begins with, and the instructions that come first: a context's directory is copied."""
        if planned.base_stage is not None:
            return copy.deepcopy(self._states[planned.base_stage]).successor(), []
        line = planned.stage.base.line
        platform = planned.stage.base.platform
        platform = expand(platform, self.arguments) if platform else None
        target = Platform.parse(platform) if platform else target_platform(self.options)
        context = self.request.contexts.get(planned.base)
        if planned.base == SCRATCH_IMAGE or (context is not None and context.directory is not None):
            # nothing has no platform of its own: it is the build's, whatever --platform of the FROM says
            document = platform_members(target_platform(self.options))
            config = with_path({"WorkingDir": "/"})
            state = StageState(document, config, [], [], step_key("", SCRATCH_IMAGE), environment_of(config))
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
            {**kept, **platform_members(actual)},
            config,
            list(image.diff_ids),
            copy.deepcopy(image.config.get("history") or []),
            step_key("", image.id),
            environment_of(config),
            created=image.config.get("created") or "",
            identity=image.id,
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
            ignore = read_ignore(Tree((context.directory,)), "Dockerfile")
            if context.client is not None:
                return Sources.of_client(context.client, ignore, description), ""
            return Sources(Tree((context.directory,)), ignore, description), ""
        index = stage_index(self.dockerfile, name) if context is None else None
        if index is not None:
            state = self._states[index]
            return Sources(Tree(self.builder.stacked(state.diff_ids)), description=repr(name)), state.key
        if context is None and name == SCRATCH_IMAGE:
            return Sources(Tree(()), description="scratch"), SCRATCH_IMAGE
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


def platform_members(platform: Platform) -> dict[str, Any]:
    """Return the members of an image configuration that say what the image runs on."""
    found: dict[str, Any] = {"architecture": platform.architecture, "os": platform.os}
    # every arm64 machine is a v8, so that the variant is left out (containerd's normal form of platforms)
    if platform.variant and (platform.architecture, platform.variant) != ("arm64", "v8"):
        found["variant"] = platform.variant
    return found
