"""One stage of a build, step by step: each is taken from the cache or done, and its layer put on the stack."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import anyio.to_thread

from runtime.build import configure, history, steps
from runtime.build import instructions as ins
from runtime.build.arguments import epoch
from runtime.build.cache import BuildCache, CachedStep, CachedUnder, step_key
from runtime.build.cache_mounts import CacheMounts
from runtime.build.client_directory import ChangedError, reading
from runtime.build.copies import ContextCopies
from runtime.build.copy_step import CopyStep
from runtime.build.errors import DockerfileError
from runtime.build.expansion import expand
from runtime.build.lint import Lint, StageLint
from runtime.build.options import BuildOptions
from runtime.build.output import StageOutput
from runtime.build.runner import StepRunner
from runtime.build.scratch import Scratch, make_older
from runtime.build.selection import Sources
from runtime.build.tree import Tree
from runtime.build.users import owner_of
from runtime.build.writer import Owner
from runtime.container.spec import environment_of
from runtime.errors import EngineError, SkiffError
from runtime.image.images import Images, now
from runtime.image.layer_tree import UnfitError
from runtime.image.transfers import KeyedLocks
from runtime.space import is_full

ATTEMPTS = 5
"""How often a step is done again because a client's directory changed after it was hashed."""


@dataclass
class StageState:
    """Where a stage stands: configuration, layers (lowest first), arguments in scope, cache key, history."""

    document: dict[str, Any]
    config: configure.Config
    diff_ids: list[str]
    history: list[dict[str, Any]]
    key: str
    variables: dict[str, str] = field(default_factory=dict)
    """What words expand with and commands see: arguments and environment, of one name the one that was set last."""
    arguments: list[str] = field(default_factory=list)
    """The names that ARG declared, in order."""
    created: str = ""
    has_workdir: bool = False
    cached: list[CachedUnder] = field(default_factory=list)
    """The steps that led here, as the cache has them."""
    identity: str = ""
    """The ID of the base image, or a digest of it and all steps since, those that only change the configuration too."""

    def successor(self) -> StageState:
        """Return the state that a stage begins with whose base is this one; it inherits the arguments too."""
        config = {name: value for name, value in self.config.items() if name != configure.OWN_COMMAND}
        return replace(
            self,
            config=config,
            diff_ids=list(self.diff_ids),
            history=list(self.history),
            variables={**self.variables, **environment_of(config)},
            arguments=list(self.arguments),
            cached=list(self.cached),
        )


class Origins(Protocol):
    """Where `--from` leads: other stages of the build, or images."""

    async def sources_of(self, name: str, before: int) -> tuple[Sources, str]:
        """Return the files of what `name` means in stage number `before`, and its identity.

        The identity is empty where only the content itself says what it is.
        """
        ...


@dataclass
class Workshop:
    """What all stages of one build share."""

    dockerfile: ins.Dockerfile
    options: BuildOptions
    context: Sources
    global_arguments: Mapping[str, str]
    images: Images
    cache: BuildCache
    runner: StepRunner
    scratch: Scratch
    origins: Origins
    used_arguments: set[str]
    caches: CacheMounts
    under_way: KeyedLocks
    """The steps that some build does now: another one that needs the same waits, and takes it from the cache."""
    downloads: Path
    """A directory for what ADD fetches, there as long as the build."""
    lint: Lint
    copies: ContextCopies

    async def commit(self, upper: Path) -> str:
        """Make `upper` a layer; return its diff ID. Nothing in it is newer than $SOURCE_DATE_EPOCH, where that is set."""
        if (seconds := epoch(self.options)) is not None:
            await anyio.to_thread.run_sync(make_older, upper, seconds * 10**9)
        return await self.scratch.commit(self.images, upper)


class StageBuilder:
    """Builds one stage; `numbers` are the `3/7` of each instruction."""

    def __init__(
        self, workshop: Workshop, index: int, state: StageState, output: StageOutput, numbers: list[str]
    ) -> None:
        self.workshop = workshop
        self.index = index
        self.state = state
        self.output = output
        self._numbers = iter(numbers)
        self._uses_cache = not workshop.options.no_cache
        self._lint = StageLint(workshop.lint, state.has_workdir)
        self._line = 0

    def ignore_cache(self) -> None:
        """Run every step, also those that have been run before."""
        self._uses_cache = False

    @property
    def layers(self) -> tuple[Path, ...]:
        """The stage's layers so far, topmost first."""
        return self.workshop.images.stacked(self.state.diff_ids)

    @property
    def tree(self) -> Tree:
        """The stage's files so far."""
        return Tree(self.layers)

    @property
    def variables(self) -> dict[str, str]:
        """What words expand with."""
        return self.state.variables

    def expand(self, word: str) -> str:
        """Return `word` with this stage's variables."""
        return expand(word, self.variables, self.workshop.dockerfile.escape, self.uses)

    def _expand_unchecked(self, word: str) -> str:
        return expand(word, self.variables, self.workshop.dockerfile.escape)

    def uses(self, name: str) -> None:
        """Record a variable that the instruction uses."""
        self._lint.look_at_variable(name, self.variables, self.state.arguments, self._line)

    def owner(self, name: str) -> Owner:
        """Return the owner that `name` means in the stage's image; who is unknown there is root, with a warning.

        Raises DockerfileError for a name while the stage has no files at all.
        """
        owner, unknown = owner_of(name, self.tree)
        if unknown and not self.state.diff_ids:
            hint = "give numbers, such as 1000:1000"
            raise DockerfileError(f"the stage is empty as yet, so nothing says who {unknown[0]!r} is", hint=hint)
        for one in unknown:
            self.output.write(f"[Warning] the image knows no {one!r}: what would be theirs belongs to root\n")
        return owner

    async def build(self, instructions: tuple[ins.Instruction, ...]) -> None:
        """Do `instructions` in order. Raises DockerfileError with the line of the one that failed."""
        for instruction in instructions:
            self.output.begin_step(next(self._numbers), instruction)
            try:
                await self._step(instruction)
                self.output.end_step(identity=self.state.identity)
            except DockerfileError as error:
                self.output.end_step(error)
                raise error.in_file(self.workshop.dockerfile.name, error.line or instruction.line) from None
            except (SkiffError, OSError) as error:
                self.output.end_step(error)
                if is_full(error):  # reported with the directory that is full
                    raise
                raise self._located(error, instruction) from error

    def _located(self, error: SkiffError | OSError, instruction: ins.Instruction) -> EngineError:
        message, hint = (error.message, error.hint) if isinstance(error, SkiffError) else (str(error), None)
        located = f"{self.workshop.dockerfile.name}:{instruction.line}: {message}"
        return EngineError(located, hint, error.status if isinstance(error, EngineError) else 500)

    async def _step(self, instruction: ins.Instruction) -> None:
        self._line = instruction.line
        self._lint.look_at(instruction, bool(self.state.config.get("Shell")))
        if isinstance(instruction, ins.Arg):
            self._declare(instruction)
            return
        escape = self.workshop.dockerfile.escape
        # BuildKit checks the variables of all instructions but EXPOSE
        word = self._expand_unchecked if isinstance(instruction, ins.Expose) else self.expand
        changed = configure.configured(self.state.config, instruction, word, escape)
        if changed is not None:
            text = history.created_by(instruction, changed, word, escape)
            self.state.config = changed
            if isinstance(instruction, ins.Env):
                own = environment_of(changed)
                self.state.variables.update({name: own[name] for name in map(self.expand, dict(instruction.variables))})
            if text is not None:
                self._append_history(text, self.state.created, empty_layer=True)
            self._configure(instruction.text if text is None else text)
            return
        if isinstance(instruction, ins.Maintainer):
            self.state.document["author"] = instruction.name
            self._record(f"MAINTAINER {instruction.name}")
            return
        await self._files_step(instruction)

    async def _files_step(self, instruction: ins.Instruction) -> None:
        for _ in range(ATTEMPTS):
            try:
                with reading():
                    await self._attempt(instruction)
                return
            except ChangedError as changed:
                name = str(changed)
        raise DockerfileError(
            f"{name.lstrip('/')} of the build context changes while it is read",
            hint="build again once what writes to it has ended, or exclude it in .dockerignore",
        )

    async def _attempt(self, instruction: ins.Instruction) -> None:
        if isinstance(instruction, ins.Run):
            step: steps.Step = await steps.RunStep.prepare(self, instruction)
        elif isinstance(instruction, ins.Copy):
            step = await CopyStep.prepare(self, instruction)
        elif isinstance(instruction, ins.Workdir):
            written = self.expand(instruction.path)
            self._lint.look_at_directory(written, instruction.line)
            self.state.has_workdir = True
            path = written
            if not path.startswith("/"):  # an absolute one is stored as it is written, only a joined one is tidied up
                path = posixpath.normpath(posixpath.join(self.state.config.get("WorkingDir") or "/", written))
            self.state.config = {**self.state.config, "WorkingDir": path}
            if posixpath.normpath("/" + path.lstrip("/")) == "/":
                self._record("WORKDIR /")
                return
            step = await steps.WorkdirStep.prepare(self)
        else:
            raise DockerfileError(f"{type(instruction).__name__.upper()} cannot stand here", instruction.line)
        dated = epoch(self.workshop.options)
        below = self.state.key if step.foundation is None else step_key("", step.foundation)
        key = step_key(below, instruction.text.split(None, 1)[0].upper(), step.identity, dated)
        text = step.created_by
        if text is None:
            text = history.created_by(instruction, self.state.config, self.expand) or instruction.text
        if not self._uses_cache:
            await self._perform(instruction, key, step, text)
        elif not self._from_cache(key, text):
            async with self.workshop.under_way.alone(key):
                if not self._from_cache(key, text):
                    await self._perform(instruction, key, step, text)

    def _from_cache(self, key: str, text: str) -> bool:
        cached = self.workshop.cache.find(key)
        if cached is None or cached.diff_id is None:
            return False
        self.output.use_cache()
        self._add_layer(key, cached, text)
        return True

    async def _perform(self, instruction: ins.Instruction, key: str, step: steps.Step, text: str) -> None:
        made = await self._copy_directly(step) if isinstance(step, CopyStep) else None
        if made is None:
            made = await self._in_upper(instruction, step)
        self.workshop.cache.keep(key, made, instruction.text)
        self._add_layer(key, made, text)

    async def _copy_directly(self, step: CopyStep) -> CachedStep | None:
        """Make the layer of a COPY without creating its files; None where that can't be."""
        layers = self.workshop.images.layers
        copy = await anyio.to_thread.run_sync(lambda: step.directly() if layers.mounted.is_possible else None)
        if copy is None:
            return None
        began_s = time.monotonic()
        try:
            diff_id = await layers.make(copy.write)
        except UnfitError:
            return None
        self.output.report_duration(time.monotonic() - began_s)
        return CachedStep(now(), diff_id)

    async def _in_upper(self, instruction: ins.Instruction, step: steps.Step) -> CachedStep:
        """Perform a step in an upper directory, and make that a layer."""
        with self.workshop.scratch.directory() as directory:
            upper = directory / "upper"
            upper.mkdir()
            # an upper directory's own mode becomes that of the image's root
            upper.chmod(0o755)
            if not isinstance(instruction, ins.Copy):
                self.output.run_container()
            began_s = time.monotonic()
            await step.perform(upper, directory)
            self.output.report_duration(time.monotonic() - began_s)
            return CachedStep(now(), await self.workshop.commit(upper))

    def _declare(self, instruction: ins.Arg) -> None:
        given = self.workshop.options.build_args
        pairs: list[tuple[str, str | None]] = []
        for name, default in instruction.arguments:
            value = given.get(name)
            if value is not None:
                self.workshop.used_arguments.add(name)
            elif default is not None:
                value = self.expand(default)
            else:
                value = self.workshop.global_arguments.get(name)
            pairs.append((name, value))
            if name not in self.state.arguments:
                self.state.arguments.append(name)
            if value is None:
                continue
            own = environment_of(self.state.config).get(name)
            if own is not None and own != value:
                self.output.write(
                    f"[Warning] from here on ${name} is {value!r}, as ARG says, and not {own!r}, as ENV does: "
                    "with other builders it is ENV's\n"
                )
            self.state.variables[name] = value
        self._record(history.argument_by(pairs))

    def _record(self, text: str) -> None:
        """Add an entry without a layer to the history; it is as old as what it stands on, so that it stays the same.

        On nothing it has no time yet: `history.dated` gives it that of what follows.
        """
        self._append_history(text, self.state.created, empty_layer=True)
        self._configure(text)

    def _configure(self, text: str) -> None:
        self.state.identity = step_key(self.state.identity, text)
        self.output.configure(self.state.identity, text, uses_cache=self._uses_cache)

    def _add_layer(self, key: str, made: CachedStep, text: str) -> None:
        assert made.diff_id is not None, "a step that changes files makes a layer"
        self.state.cached.append(CachedUnder(key, made))
        self.state.diff_ids.append(made.diff_id)
        self._append_history(text, made.created)
        self.state.identity = step_key(self.state.identity, text, made.diff_id)
        # what follows stands on the layer itself, as one that is made again may have other content, and on all below it
        self.state.key = step_key(self.state.key, key, made.diff_id)

    def _append_history(self, text: str, created: str, **more: bool) -> None:
        self.state.history.append({"created": created, "created_by": text, "comment": history.COMMENT, **more})
        self.state.created = created
