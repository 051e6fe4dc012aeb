"""`export`: writes a container's filesystem as a tar archive."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from compose.cli.context import Globals
from compose.cli.options import Index, Service
from runtime.errors import SkiffError


def export(
    ctx: typer.Context,
    service: Service,
    output: Annotated[str, typer.Option("--output", "-o", help="File; standard output when left out")] = "",
    index: Index = 0,
) -> None:
    """Write a container's filesystem as a tar archive."""
    from compose.cli.output import write_whole
    from compose.stack.export import export as export_container

    common: Globals = ctx.obj
    project, _ = common.load_or_name([service])
    if not output and sys.stdout.isatty():
        raise SkiffError("output option is required when exporting to terminal", "write --output FILE")
    context = common.context()
    export_container(context, project, service, index, lambda pieces: write_whole(pieces, output))
