"""`pull`: the images that services run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compose.events import Note, StateChanged, work
from compose.plan.selection import select
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.plan.operations import Operation
    from compose.plan.project import DesiredProject
    from compose.stack.context import Context


@dataclass(frozen=True)
class PullRequest:
    """Which services' images to pull (none named: all), with those of dependencies where that is wanted.

    `policy` "missing" skips images that are here. Failures end the pull unless `ignore_failures`; images that can be
    built are skipped with `ignore_buildable`.
    """

    services: Sequence[str] = ()
    with_dependencies: bool = False
    policy: str = ""
    ignore_failures: bool = False
    ignore_buildable: bool = False


def pull(context: Context, project: DesiredProject, request: PullRequest) -> None:
    """Pull images, all at once. Raises SkiffError for the first that can be neither pulled nor built."""
    from compose.execute.observe import observe
    from compose.execute.runner import run
    from compose.plan.images import plan_pulls

    with work(context.emit):
        names = select(project, request.services, with_dependencies=request.with_dependencies)
        observed = observe(context.client, project, names)
        plan, skipped = plan_pulls(
            project, observed, names, policy=request.policy, ignore_buildable=request.ignore_buildable
        )
        for image, why in skipped.items():
            context.emit(StateChanged("Image", image, f"Skipped - {why}"))
        executor = context.executor(project, observed)
        failures: dict[str, SkiffError] = {}

        def perform(operation: Operation) -> None:
            try:
                executor.perform(operation)
            except SkiffError as error:
                failures[operation.service] = error

        run(plan, perform, context.parallel)
        built = [name for name in failures if project.services[name].build]
        if built:
            context.emit(
                Note(
                    "WARN Some service image(s) must be built from source by running:\n"
                    f"    skiff build {' '.join(built)}"
                )
            )
        for name, error in failures.items():
            if request.ignore_failures:
                context.emit(Note(f"WARN {error}"))
            elif name not in built:
                raise error
