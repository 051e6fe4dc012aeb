"""`export`: a container's filesystem as a tar archive."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from compose.events import step, work

if TYPE_CHECKING:
    from compose.plan.project import DesiredProject
    from compose.stack.context import Context


def export(
    context: Context,
    project: DesiredProject,
    service: str,
    index: int,
    write: Callable[[Iterable[bytes]], None],
) -> None:
    """Pass the archive of the service's container number `index` (0: the first) to `write`. Raises SkiffError."""
    container = context.one_container(project, service, index, running=False)
    with work(context.emit), step(context.emit, "export", container.name):
        if not context.dry_run:
            write(context.client.export(container.id))
