"""Services that other programs provide: their `up`, `stop` and `down`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compose.events import StateChanged, work
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.plan.project import DesiredProject
    from compose.plan.providing import Variables
    from compose.stack.context import Context

WORDS = {"up": ("Creating", "Created"), "down": ("Removing", "Removed"), "stop": ("Stopping", "Stopped")}


def run_provider(context: Context, project: DesiredProject, name: str, command: str) -> Variables | None:
    """Run `command` of the provider of service `name`; return the variables it sets, None in a dry run.

    Raises SkiffError.
    """
    from compose.execute.providers import run_provider as run

    def report(text: str) -> None:
        context.emit(StateChanged("Service", name, text))

    doing, done = WORDS[command]
    report(doing)
    variables = None
    if not context.dry_run:
        try:
            variables = run(project, name, command, context.environ, report)
        except SkiffError:
            report("Error")
            raise
    report(done)
    return variables


def stop_providers(context: Context, project: DesiredProject, services: Sequence[str]) -> None:
    """Stop what providers of `services` (all: none named) run, dependants first.

    Providers without a command for it are skipped. Raises SkiffError.
    """
    from compose.plan.providing import provided

    names = provided(project, list(services or project.services))
    if not names:
        return
    from compose.execute.providers import cares_for_stop

    with work(context.emit):
        for name in reversed(names):
            if cares_for_stop(project, name, context.environ):
                run_provider(context, project, name, "stop")
