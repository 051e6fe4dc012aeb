"""One action on many containers, each reported as a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from compose.events import HookOutput, step, work
from runtime.errors import NotModifiedError

if TYPE_CHECKING:
    from compose.plan.project import DesiredProject, ObservedContainer
    from compose.stack.context import Context


def for_each(
    context: Context, kind: str, containers: Sequence[ObservedContainer], action: Callable[[ObservedContainer], Any]
) -> None:
    """Run `action` for each of `containers` as a step of `kind`; one that has nothing to change is a success."""
    with work(context.emit):
        for container in containers:
            with step(context.emit, kind, container.name), suppress(NotModifiedError):
                if not context.dry_run:
                    action(container)


def run_hooks(context: Context, project: DesiredProject, phase: str, container: ObservedContainer) -> None:
    """Run the hooks of `phase` in `container`; their output becomes events. Raises SkiffError for one that fails."""
    service = project.services.get(container.service)
    hooks = service.hooks(phase) if service else ()
    if not hooks:
        return
    from compose.execute.hooks import run_hooks as run

    def report(line: str) -> None:
        context.emit(HookOutput(container.name, phase, line))

    run(context.client, hooks, phase, container.id, container.name, report)
