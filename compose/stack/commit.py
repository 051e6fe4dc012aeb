"""`commit`: an image of what a container changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compose.events import step, work

if TYPE_CHECKING:
    from compose.plan.project import DesiredProject
    from compose.stack.context import Context


@dataclass(frozen=True)
class CommitRequest:
    """The container of `service` (number `index`, 0: the first), and the image to make of it.

    `image` is REPOSITORY[:TAG] ("": without a name), `changes` are Dockerfile instructions. Unless `pause` is False
    the container is frozen while the image is made.
    """

    service: str
    image: str = ""
    index: int = 0
    author: str = ""
    message: str = ""
    changes: Sequence[str] = ()
    pause: bool = True


def commit(context: Context, project: DesiredProject, request: CommitRequest) -> str:
    """Make the image and return its ID, "" in a dry run. Raises SkiffError."""
    container = context.one_container(project, request.service, request.index, running=False)
    image = request.image
    # a colon in the last part separates the tag; one before it is the registry's port
    repository, _, tag = image.rpartition(":") if ":" in image.rpartition("/")[2] else (image, "", "")
    with work(context.emit), step(context.emit, "commit", container.name):
        if context.dry_run:
            return ""
        return context.client.commit(
            container.id,
            changes=list(request.changes),
            repo=repository,
            tag=tag,
            author=request.author,
            comment=request.message,
            pause=int(request.pause),
        )
