"""`cp`: files between containers and here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from compose.events import step, work
from compose.stack.copying import copy_in, copy_out
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.plan.project import DesiredProject
    from compose.stack.context import Context


@dataclass(frozen=True)
class CopyRequest:
    """`path` in containers of `service`, and `here`: a path of this machine, or an open file with a tar archive.

    `index` is the container's number (0: all of them where something is copied in, the first to copy from). One-off
    containers are among them with `oneoff`.
    """

    service: str
    path: str
    here: str | IO[bytes]
    index: int = 0
    oneoff: bool = False
    follow_link: bool = False
    keeps_owners: bool = False


def copy_from(context: Context, project: DesiredProject, request: CopyRequest) -> None:
    """Copy from a container to here. Raises SkiffError."""
    container = context.one_container(project, request.service, request.index, running=False)
    with work(context.emit), step(context.emit, "copy", container.name):
        if not context.dry_run:
            copy_out(context.client, container.id, request.path, request.here, follow_link=request.follow_link)


def copy_to(context: Context, project: DesiredProject, request: CopyRequest) -> None:
    """Copy from here into containers. Raises SkiffError when there is none."""
    found = [
        container
        for container in context.containers(project, [request.service], oneoff=request.oneoff)
        if not request.index or container.number == request.index
    ]
    if not found:
        name = request.service
        raise SkiffError(f'no container found for service "{name}"', f"make it: `skiff up -d {name}`")
    with work(context.emit):
        for container in found:
            with step(context.emit, "copy", container.name):
                if not context.dry_run:
                    copy_in(
                        context.client,
                        container.id,
                        request.here,
                        request.path,
                        follow_link=request.follow_link,
                        owners=request.keeps_owners,
                    )
