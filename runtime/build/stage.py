"""One stage of a build, step by step: each is taken from the cache or done, and its layer put on the stack."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from runtime.build import configure, steps
from runtime.build import instructions as ins
from runtime.build.cache import BuildCache, CachedStep, CachedUnder, step_key
from runtime.build.cache_mounts import CacheMounts
from runtime.build.copy_step import CopyStep
from runtime.build.errors import DockerfileError
from runtime.build.expansion import expand
from runtime.build.options import BuildOptions
from runtime.build.output import StageOutput
from runtime.build.runner import StepRunner
from runtime.build.scratch import Scratch
from runtime.build.selection import Sources
from runtime.build.tree import Tree
from runtime.build.users import owner_of
from runtime.build.writer import Owner
from runtime.errors import EngineError, SkiffError
from runtime.image.images import Images, now
from runtime.image.transfers import KeyedLocks


@dataclass
class StageState:
    """Where a stage stands: configuration, layers (lowest first), arguments in scope, cache key, history."""

    document: dict[str, Any]
    config: configure.Config
    diff_ids: list[str]
    history: list[dict[str, Any]]
    key: str
    arguments: dict[str, str] = field(default_factory=dict)
    created: str = ""
    cached: list[CachedUnder] = field(default_factory=list)
    """The steps that led here, as the cache has them."""

    def successor(self) -> StageState:
        """Return the state that a stage begins with whose base is this one; it inherits the arguments too."""
        config = {name: value for name, value in self.config.items() if name != configure.OWN_COMMAND}
        return replace(
            self,
            config=config,
            diff_ids=list(self.diff_ids),
            history=list(self.history),
            arguments=dict(self.arguments),
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

    async def commit(self, upper: Path) -> str:
        """Make `upper` a layer; return its diff ID."""
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
        """What words expand with: arguments in scope, and over them the environment."""
        return {**self.state.arguments, **configure.environment(self.state.config)}

    def expand(self, word: str) -> str:
        """Return `word` with this stage's variables."""
        return expand(word, self.variables, self.workshop.dockerfile.escape)

    def owner(self, name: str) -> Owner:
        """Return the owner that `name` means in the stage's image; who is unknown there is root, with a warning."""
        owner, unknown = owner_of(name, self.tree)
        for one in unknown:
            self.output.write(f"[Warning] the image knows no {one!r}: what would be theirs belongs to root\n")
        return owner

    async def build(self, instructions: tuple[ins.Instruction, ...]) -> None:
        """Do `instructions` in order. Raises DockerfileError with the line of the one that failed."""
        for instruction in instructions:
            self.output.write(f"Step {next(self._numbers)} : {instruction.text}\n")
            try:
                await self._step(instruction)
            except DockerfileError as error:
                raise error.in_file(self.workshop.dockerfile.name, error.line or instruction.line) from None
            except (SkiffError, OSError) as error:
                raise self._located(error, instruction) from error

    def _located(self, error: SkiffError | OSError, instruction: ins.Instruction) -> EngineError:
        message, hint = (error.message, error.hint) if isinstance(error, SkiffError) else (str(error), None)
        located = f"{self.workshop.dockerfile.name}:{instruction.line}: {message}"
        return EngineError(located, hint, error.status if isinstance(error, EngineError) else 500)

    async def _step(self, instruction: ins.Instruction) -> None:
        if isinstance(instruction, ins.Arg):
            self._declare(instruction)
            return
        changed = configure.configured(self.state.config, instruction, self.variables, self.workshop.dockerfile.escape)
        if changed is not None:
            self.state.config = changed
            shown = {name: value for name, value in changed.items() if name != configure.OWN_COMMAND}
            self._record(instruction, step_key(self.state.key, instruction.text, shown), None)
            return
        if isinstance(instruction, ins.Maintainer):
            self.state.document["author"] = instruction.name
            self._record(instruction, step_key(self.state.key, instruction.text), None)
            return
        await self._files_step(instruction)

    async def _files_step(self, instruction: ins.Instruction) -> None:
        if isinstance(instruction, ins.Run):
            step: steps.Step = await steps.RunStep.prepare(self, instruction)
        elif isinstance(instruction, ins.Copy):
            step = await CopyStep.prepare(self, instruction)
        elif isinstance(instruction, ins.Workdir):
            path = posixpath.join(self.state.config.get("WorkingDir") or "/", self.expand(instruction.path))
            self.state.config = {**self.state.config, "WorkingDir": posixpath.normpath("/" + path.lstrip("/"))}
            step = await steps.WorkdirStep.prepare(self)
        else:
            raise DockerfileError(f"{type(instruction).__name__.upper()} cannot stand here", instruction.line)
        key = step_key(self.state.key, instruction.text.split(None, 1)[0].upper(), step.identity)
        if not self._uses_cache:
            await self._perform(instruction, key, step)
        elif not self._from_cache(instruction, key):
            async with self.workshop.under_way.alone(key):
                if not self._from_cache(instruction, key):
                    await self._perform(instruction, key, step)

    def _from_cache(self, instruction: ins.Instruction, key: str) -> bool:
        cached = self.workshop.cache.find(key)
        if cached is None:
            return False
        self.output.write(" ---> Using cache\n")
        self._record(instruction, key, cached.diff_id, cached.created)
        return True

    async def _perform(self, instruction: ins.Instruction, key: str, step: steps.Step) -> None:
        with self.workshop.scratch.directory() as directory:
            upper = directory / "upper"
            upper.mkdir()
            # an upper directory's own mode becomes that of the image's root
            upper.chmod(0o755)
            await step.perform(upper, directory)
            diff_id = await self.workshop.commit(upper) if any(upper.iterdir()) else None
        self._record(instruction, key, diff_id)

    def _declare(self, instruction: ins.Arg) -> None:
        given = self.workshop.options.build_args
        for name, default in instruction.arguments:
            if (value := given.get(name)) is not None:
                self.workshop.used_arguments.add(name)
                self.state.arguments[name] = value
            elif default is not None:
                self.state.arguments[name] = self.expand(default)
            elif name in self.workshop.global_arguments:
                self.state.arguments[name] = self.workshop.global_arguments[name]
        self._record(instruction, self.state.key, None)

    def _record(self, instruction: ins.Instruction, key: str, diff_id: str | None, created: str | None = None) -> None:
        if created is None and key != self.state.key and self._uses_cache and diff_id is None:
            # a step without a layer keeps its first moment, so that an unchanged build is the same image
            known = self.workshop.cache.find(key)
            created = known.created if known and known.diff_id is None else None
        created = created or (self.state.created if key == self.state.key and self.state.created else now())
        if key != self.state.key:
            step = CachedStep(created, diff_id)
            self.state.cached.append(CachedUnder(key, step))
            self.workshop.cache.keep(key, step, instruction.text)
        by = created_by(instruction, self.state)
        entry: dict[str, Any] = {"created": created, "created_by": by, "comment": "skiff build"}
        if diff_id is None:
            entry["empty_layer"] = True
        else:
            self.state.diff_ids.append(diff_id)
        self.state.history.append(entry)
        # what follows stands on the layer itself: one made anew with other content is another parent
        self.state.key = key if diff_id is None else step_key(key, diff_id)
        self.state.created = created


def created_by(instruction: ins.Instruction, state: StageState) -> str:
    """Return how an image's history tells `instruction`: a RUN with the arguments that it sees, and its shell."""
    if not isinstance(instruction, ins.Run) or not instruction.command.shell_form:
        return instruction.text
    given = [f"{name}={value}" for name, value in sorted(state.arguments.items())]
    shell = state.config.get("Shell") or configure.DEFAULT_SHELL
    return " ".join(["RUN", *([f"|{len(given)}", *given] if given else []), *shell, *instruction.command.arguments])
