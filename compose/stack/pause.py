"""`pause` and `unpause`: containers are frozen, and resumed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compose.stack.each import for_each

if TYPE_CHECKING:
    from compose.plan.project import DesiredProject
    from compose.stack.context import Context


def pause(context: Context, project: DesiredProject, services: Sequence[str] = ()) -> None:
    """Pause the running containers of `services` (none named: all). Raises SkiffError."""
    found = [container for container in context.containers(project, services) if container.state == "running"]
    for_each(context, "pause", found, lambda container: context.client.pause(container.id))


def unpause(context: Context, project: DesiredProject, services: Sequence[str] = ()) -> None:
    """Resume the paused containers of `services` (none named: all). Raises SkiffError."""
    found = [container for container in context.containers(project, services) if container.state == "paused"]
    for_each(context, "unpause", found, lambda container: context.client.unpause(container.id))
