"""`restart`: containers stop and start, together with those that asked to be restarted with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compose.events import Note
from compose.plan.restarts import dependencies_first, restarted_with
from compose.stack.checkouts import check_checkout
from compose.stack.each import for_each
from compose.stack.waiting import await_dependencies

if TYPE_CHECKING:
    from compose.plan.project import DesiredProject, ObservedContainer
    from compose.stack.context import Context


@dataclass(frozen=True)
class RestartRequest:
    """Which services to restart (none named: all), the seconds until a container is killed (None: its own).

    Without `with_dependants`, services that depend on them with `restart: true` are left alone.
    """

    services: Sequence[str] = ()
    timeout_s: int | None = None
    with_dependants: bool = True


def restart(context: Context, project: DesiredProject, request: RestartRequest) -> None:
    """Restart containers, dependencies first. Raises SkiffError."""
    from compose.execute.restarts import restart as restart_container

    found = context.own_containers(project)
    check_checkout(project, found)
    context.containers(project, request.services)  # names that are no service are an error
    services: Sequence[str] = request.services
    if services and request.with_dependants:
        services = sorted(restarted_with(found, services))
    chosen = [container for container in found if not services or container.service in services]

    again_with = {container.service for container in chosen}

    def again(container: ObservedContainer) -> None:
        service = project.services.get(container.service)
        if service and any(how.restart and other in again_with for other, how in service.dependencies.items()):
            await_dependencies(context, project, container.service)
        restart_container(context.client, project, container, request.timeout_s, lambda line: context.emit(Note(line)))

    for_each(context, "restart", dependencies_first(project, chosen), again)
