"""`cp`: copies files between containers and here."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from compose.cli.context import Globals
from compose.cli.options import Index
from runtime.errors import SkiffError

STREAM = "-"


def cp(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help="PATH, SERVICE:PATH, or - for a tar archive from standard input")],
    destination: Annotated[str, typer.Argument(help="PATH, SERVICE:PATH, or - for a tar archive to standard output")],
    index: Index = 0,
    archive: Annotated[bool, typer.Option("--archive", "-a", help="Keep owners")] = False,
    follow_link: Annotated[bool, typer.Option("--follow-link", "-L", help="Follow a link at SOURCE")] = False,
    all: Annotated[bool, typer.Option("--all", help="One-offs of the service, too")] = False,
) -> None:
    """Copy files between containers and here."""
    from compose.stack.cp import CopyRequest, copy_from, copy_to

    common: Globals = ctx.obj
    service, path = _split(source)
    other, other_path = _split(destination)
    if bool(service) == bool(other):
        raise SkiffError(
            "copying between services is not supported" if service else "unknown copy direction",
            "one of source and destination is SERVICE:PATH, the other a path here",
        )
    project, _ = common.load_or_name([service or other])
    context = common.context()
    if service:
        out = sys.stdout.buffer if other_path == STREAM else other_path
        copy_from(context, project, CopyRequest(service, path, out, index, follow_link=follow_link))
    else:
        given = sys.stdin.buffer if path == STREAM else path
        copy_to(context, project, CopyRequest(other, other_path, given, index, all, follow_link, archive))


def _split(text: str) -> tuple[str, str]:
    """Return service and path of SERVICE:PATH; no service for a path here."""
    service, colon, path = text.partition(":")
    return (service, path) if colon and service and not service.startswith(".") and "/" not in service else ("", text)
