"""`down`: a stack, or services of it, is stopped and removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compose.events import work
from compose.stack.checkouts import check_checkout

if TYPE_CHECKING:
    from compose.plan.project import DesiredProject
    from compose.stack.context import Context


@dataclass(frozen=True)
class DownRequest:
    """What to remove: `services` (none named: all), volumes, `images` ("all", "local" or ""), orphans.

    `timeout_s` are the seconds until a container is killed (None: its own).
    """

    services: Sequence[str] = ()
    volumes: bool = False
    images: str = ""
    remove_orphans: bool = False
    timeout_s: int | None = None


def down(context: Context, project: DesiredProject, request: DownRequest, *, has_files: bool = True) -> None:
    """Stop and remove, dependants first; nothing to remove is worth a warning. Raises SkiffError."""
    from compose.execute.observe import observe
    from compose.plan.down import plan_down
    from compose.plan.providing import provided
    from compose.stack.providers import run_provider

    observed = observe(context.client, project, with_hooks=True)
    check_checkout(project, observed.containers)
    plan = plan_down(
        project,
        observed,
        services=tuple(request.services),
        volumes=request.volumes,
        images=request.images,
        remove_orphans=request.remove_orphans,
        has_files=has_files,
    )
    names = reversed(provided(project, list(project.services)))
    providing = [name for name in names if not request.services or name in request.services]
    if not plan.operations and not providing:
        context.warn(f'Warning: No resource found to remove for project "{project.name}".')
    with work(context.emit):
        executor = context.executor(project, observed, stop_timeout_s=request.timeout_s, remove_volumes=request.volumes)
        context.run(plan, executor)
        for name in providing:
            run_provider(context, project, name, "down")
