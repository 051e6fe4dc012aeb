"""`kill`: a signal to containers that run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compose.stack.checkouts import check_checkout
from compose.stack.each import for_each

if TYPE_CHECKING:
    from compose.plan.project import DesiredProject
    from compose.stack.context import Context


@dataclass(frozen=True)
class KillRequest:
    """Which services to signal (none named: all); with `orphans`, containers that the files no longer name as well."""

    services: Sequence[str] = ()
    signal: str = "SIGKILL"
    orphans: bool = False


def kill(context: Context, project: DesiredProject, request: KillRequest, *, has_files: bool = True) -> None:
    """Send the signal; nobody to send it to is worth a warning. Raises SkiffError."""
    known = {*project.services, *project.disabled}
    everyone = request.orphans or bool(request.services) or not has_files
    found = [
        container
        for container in context.containers(project, request.services)
        if container.is_alive and (everyone or container.service in known)
    ]
    check_checkout(project, found)
    if not found:
        context.warn("no container to kill")
    for_each(context, "kill", found, lambda container: context.client.kill(container.id, request.signal))
