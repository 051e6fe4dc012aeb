"""`top`: shows the processes in containers."""

from __future__ import annotations

import typer

from compose.cli.context import Globals
from compose.cli.options import Services


def top(ctx: typer.Context, services: Services = None) -> None:
    """Show the processes in containers."""
    from compose.render.table import table
    from compose.stack.inspection import top as processes_of

    common: Globals = ctx.obj
    project, _ = common.load_or_name(services)
    found = list(processes_of(common.context(), project, services or ()))
    rows = [[each.container.service, str(each.container.number), *cells] for each in found for cells in each.rows]
    if rows:
        print(table(["SERVICE", "#", *found[0].titles], rows))
