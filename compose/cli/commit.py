"""`commit`: makes an image of a container's changes."""

from __future__ import annotations

from typing import Annotated

import typer

from compose.cli.context import Globals
from compose.cli.options import Index, Service


def commit(
    ctx: typer.Context,
    service: Service,
    image: Annotated[str, typer.Argument(metavar="REPOSITORY[:TAG]")] = "",
    author: Annotated[str, typer.Option("--author", "-a", help="Author")] = "",
    change: Annotated[list[str] | None, typer.Option("--change", "-c", help="Dockerfile instruction")] = None,
    message: Annotated[str, typer.Option("--message", "-m", help="Comment")] = "",
    pause: Annotated[
        bool, typer.Option("--pause/--no-pause", "-p", help="Freeze the container while the image is made")
    ] = True,
    index: Index = 0,
) -> None:
    """Make an image of a container's changes."""
    from compose.stack.commit import CommitRequest
    from compose.stack.commit import commit as commit_container

    common: Globals = ctx.obj
    project, _ = common.load_or_name([service])
    request = CommitRequest(service, image, index, author, message, tuple(change or ()), pause)
    if id := commit_container(common.context(), project, request):
        print(id)
