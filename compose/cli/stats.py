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
    from compose.render.sparkline import Histories
    from compose.render.template import formatted
    from compose.render.usage import COLUMNS, HISTORIES, history_cells, usage_row
    from compose.stack.inspection import stats as usage_of

    common: Globals = ctx.obj
    format = format or common.docker_format("stats")
    services = [service] if service else []
    project, _ = common.load_or_name(services)
    context = common.context()
    is_live = not no_stream and sys.stdout.isatty()
    has_lines = is_live and format in ("", "table")
    cpu, memory = Histories(), Histories()
    while True:
        found = usage_of(context, project, services, all=all)
        rows = [
            usage_row(container.id if no_trunc else container.id[:12], container.name, document)
            for container, document in found
        ]
        if has_lines:
            for row in rows:
                row |= history_cells(row, cpu, memory)
        if is_live:
            sys.stdout.write("\x1b[H\x1b[2J")
        print(formatted(format, rows, (*COLUMNS, *HISTORIES) if has_lines else COLUMNS), flush=True)
        if no_stream or not found:
            return
