"""`pause` and `unpause`: containers are frozen, and resumed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compose.stack.each import for_each

if TYPE_CHECKING:
    from compose.plan.project import DesiredProject
    from compose.stack.context import Context


def pause(context: Context, project: DesiredProject, services: Sequence[str] = ()) -> None:
    """Pause the containers of `services` (none named: all). Raises SkiffError, also for one that is paused."""
    found = [container for container in context.own_containers(project, services) if container.is_alive]
    for_each(context, "pause", found, lambda container: context.client.pause(container.id))


def unpause(context: Context, project: DesiredProject, services: Sequence[str] = ()) -> None:
    """Resume the containers of `services` (none named: all). Raises SkiffError, also for one that is not paused."""
    found = [container for container in context.own_containers(project, services) if container.is_alive]
    for_each(context, "unpause", found, lambda container: context.client.unpause(container.id))
