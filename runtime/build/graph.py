"""Which stages a target needs, and which must be built before which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from runtime.build import instructions as ins
from runtime.build.contexts import NamedContexts
from runtime.build.errors import DockerfileError, suggestion
from runtime.build.expansion import expand
from runtime.build.parser import parse_trigger


@dataclass(frozen=True)
class PlannedStage:
    """A stage to build: the image or stage it starts from, and the stages it waits for, by index."""

    stage: ins.Stage
    base: str
    base_stage: int | None
    needs: frozenset[int]


def plan_stages(
    dockerfile: ins.Dockerfile,
    target: str | None,
    arguments: Mapping[str, str],
    contexts: NamedContexts | None = None,
) -> tuple[tuple[PlannedStage, ...], int]:
    """Return the stages that `target` (a name, an index, or None for the last) needs, in file order, and its index.

    `arguments` are those that FROM lines may use; `contexts` come before stages of the same name. Raises
    DockerfileError for an unknown target and an empty base.
    """
    wanted = stage_number(dockerfile, target)
    named = contexts or NamedContexts()
    bases = [_base_name(dockerfile, stage, arguments) for stage in dockerfile.stages]
    planned: dict[int, PlannedStage] = {}
    pending = [wanted]
    while pending:
        index = pending.pop()
        if index not in planned:
            # what a stage copies from is looked up for those alone that are built
            planned[index] = _plan(dockerfile, dockerfile.stages[index], bases[index], named)
            pending.extend(planned[index].needs)
    return tuple(planned[index] for index in sorted(planned)), wanted


def stage_number(dockerfile: ins.Dockerfile, target: str | None) -> int:
    """Return the index of the stage `target`, the last one for None. Raises DockerfileError when there is none."""
    if not target:
        return len(dockerfile.stages) - 1
    found = stage_index(dockerfile, target)
    if found is None:
        names = [stage.base.name for stage in dockerfile.stages if stage.base.name]
        known = f"its stages are {', '.join(names)}" if names else "none of its stages has a name"
        raise DockerfileError(
            f'target stage "{target}" could not be found', hint=suggestion(target, names) or known, file=dockerfile.name
        )
    return found


def stage_index(dockerfile: ins.Dockerfile, name: str, before: int | None = None) -> int | None:
    """Return the index of the stage called `name` (or numbered so) among those before index `before`, or among all.

    Of several with one name the last counts.
    """
    stages = dockerfile.stages[:before]
    for stage in reversed(stages):
        if stage.base.name == name.lower():
            return stage.index
    if name.isdigit() and int(name) < len(stages):
        return int(name)
    return None


def source_index(dockerfile: ins.Dockerfile, name: str, stage: ins.Stage, line: int) -> int | None:
    """Return the index of the stage that `name` means as a source in `stage`; None for what is no stage.

    Raises DockerfileError, at `line`, for one that is not done before.
    """
    index = stage_index(dockerfile, name)
    if index is None and name.isdigit():
        raise DockerfileError(
            f"invalid stage index {name}", line, f"there are {len(dockerfile.stages)}, from 0 on", file=dockerfile.name
        )
    if index is None or index < stage.index:
        return index
    problem = (
        f"stage {name!r} cannot copy from itself"
        if index == stage.index
        else f"cannot copy from stage {name!r}, it needs to be defined before current stage {stage.name!r}"
    )
    raise DockerfileError(problem, line, "put the stage that it copies from before it", file=dockerfile.name)


def _base_name(dockerfile: ins.Dockerfile, stage: ins.Stage, arguments: Mapping[str, str]) -> str:
    try:
        base = expand(stage.base.image, arguments, dockerfile.escape)
    except DockerfileError as error:
        raise error.in_file(dockerfile.name, stage.base.line) from None
    if not base:
        raise DockerfileError(
            f"base name ({stage.base.image}) should not be blank",
            stage.base.line,
            "give the ARG a default before the first FROM, or pass --build-arg",
            file=dockerfile.name,
        )
    return base


def _plan(dockerfile: ins.Dockerfile, stage: ins.Stage, base: str, contexts: NamedContexts) -> PlannedStage:
    if stage.base.name and stage.base.name in contexts:
        # a context stands for the whole stage of its name
        return PlannedStage(replace(stage, instructions=()), stage.base.name, None, frozenset())
    # FROM knows stages by name only: a number there is an image's name
    base_stage = None if base.isdigit() or base in contexts else stage_index(dockerfile, base, stage.index)
    needs = {base_stage} if base_stage is not None else set()
    for instruction in (*_triggers(dockerfile, base_stage), *stage.instructions):
        for source in reads_from(instruction):
            if source in contexts:
                continue
            index = source_index(dockerfile, source, stage, instruction.line)
            if index is not None:
                needs.add(index)
    return PlannedStage(stage, base, base_stage, frozenset(needs))


def _triggers(dockerfile: ins.Dockerfile, base_stage: int | None) -> list[ins.Instruction]:
    """Return what the ONBUILD instructions of a stage's base stage bring into it."""
    if base_stage is None:
        return []
    own = dockerfile.stages[base_stage].instructions
    return [one for found in own if isinstance(found, ins.OnBuild) for one in parse_trigger(found.trigger, found.line)]


def reads_from(instruction: ins.Instruction) -> list[str]:
    """Return the stages, contexts and images whose files an instruction reads, as it names them."""
    if isinstance(instruction, ins.Copy):
        return [instruction.from_stage] if instruction.from_stage else []
    if isinstance(instruction, ins.Run):
        return list(instruction.sources)
    return []
