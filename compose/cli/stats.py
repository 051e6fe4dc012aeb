"""`stats`: shows the resource usage of containers."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from compose.cli.context import Globals


def stats(
    ctx: typer.Context,
    service: Annotated[str, typer.Argument(help="Service; all when none is named")] = "",
    all: Annotated[bool, typer.Option("--all", "-a", help="Stopped containers too")] = False,
    format: Annotated[str, typer.Option("--format", help="table, json or a template")] = "",
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Show them once")] = False,
    no_trunc: Annotated[bool, typer.Option("--no-trunc", help="Show whole IDs")] = False,
) -> None:
    """Show the resource usage of containers."""
    from compose.render.template import formatted
    from compose.render.usage import COLUMNS, usage_row
    from compose.stack.inspection import stats as usage_of

    common: Globals = ctx.obj
    format = format or common.docker_format("stats")
    services = [service] if service else []
    project, _ = common.load_or_name(services)
    context = common.context()
    while True:
        found = usage_of(context, project, services, all=all)
        rows = [
            usage_row(container.id if no_trunc else container.id[:12], container.name, document)
            for container, document in found
        ]
        if not no_stream and sys.stdout.isatty():
            sys.stdout.write("\x1b[H\x1b[2J")
        print(formatted(format, rows, COLUMNS), flush=True)
        if no_stream or not found:
            return
