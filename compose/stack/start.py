"""`start`: containers that were stopped run again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compose.events import HookOutput
from compose.plan.restarts import dependencies_first
from compose.stack.each import for_each, run_hooks
from compose.stack.waiting import await_dependencies
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.plan.project import DesiredProject, ObservedContainer
    from compose.stack.context import Context


@dataclass(frozen=True)
class StartRequest:
    """Which services to start (none named: all), and whether to wait until they are healthy (0: without a limit)."""

    services: Sequence[str] = ()
    wait: bool = False
    wait_timeout_s: int = 0


def start(context: Context, project: DesiredProject, request: StartRequest, *, has_files: bool = True) -> None:
    """Start stopped containers, dependencies first. Raises SkiffError for a service without a container.

    `has_files` says that `project` comes from files; without them nothing is known about health checks.
    """
    chosen = _with_dependencies(project, request.services)
    found = context.own_containers(project, chosen)
    here = {container.service for container in found}
    for name in chosen or (() if found else project.services):
        if name not in here:
            raise SkiffError(f'service "{name}" has no container to start', f"make it: `skiff up -d {name}`")
    if not found:
        raise SkiffError(f"no container found for project {project.name!r}", "make them: `skiff up -d`")

    waiting = {
        container.service
        for container in found
        if (service := project.services.get(container.service)) and service.pre_start
    } - {container.service for container in found if container.state == "running"}
    container_of = {container.service: container.id for container in reversed(found)}

    def begin(container: ObservedContainer) -> None:
        await_dependencies(context, project, container.service)
        if container.service in waiting:
            waiting.remove(container.service)
            _run_pre_start(context, project, container, container_of)
        context.client.start(container.id)
        run_hooks(context, project, "post_start", container)

    for_each(context, "start", dependencies_first(project, [c for c in found if c.state != "running"]), begin)
    if request.wait and has_files and not context.dry_run:
        from compose.stack.waiting import wait_until_up

        wait_until_up(context, project, request.services, request.wait_timeout_s)


def _run_pre_start(
    context: Context, project: DesiredProject, container: ObservedContainer, container_of: Mapping[str, str]
) -> None:
    from compose.execute.pre_start import run_pre_start

    def report(line: str) -> None:
        context.emit(HookOutput(container.service, "pre_start", line))

    run_pre_start(context.client, project, container.service, container.id, container_of, report)


def _with_dependencies(project: DesiredProject, services: Sequence[str]) -> Sequence[str]:
    """Return `services` with what they depend on; where a name is all that is known of the project, as they are."""
    from compose.plan.selection import select

    own = [name for name in services if name in project.services]
    others = [name for name in services if name not in project.services]
    return [*(select(project, own, with_dependencies=True) if own else ()), *others]
