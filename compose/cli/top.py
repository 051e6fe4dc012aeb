"""`top`: shows the processes in containers."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from compose.cli.context import Globals
from compose.cli.options import Services


def top(
    ctx: typer.Context,
    services: Services = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show them again and again, with lines of CPU and memory")
    ] = False,
) -> None:
    """Show the processes in containers."""
    from compose.render.sparkline import Histories
    from compose.render.table import table
    from compose.stack.inspection import stats
    from compose.stack.inspection import top as processes_of

    common: Globals = ctx.obj
    project, _ = common.load_or_name(services)
    context = common.context()
    cpu, memory = Histories(), Histories()
    while True:
        shown = []
        if follow:
            from compose.render.usage import history_cells, usage_row

            used = [
                usage_row(one.id, one.short_name(), usage) for one, usage in stats(context, project, services or ())
            ]
            lines = [history_cells(row, cpu, memory) for row in used]
            if used:
                cells = [
                    [
                        row["Name"],
                        row["CPUPerc"],
                        line["CPUHistory"],
                        row["MemUsage"].partition(" ")[0],
                        line["MemHistory"],
                    ]
                    for row, line in zip(used, lines, strict=True)
                ]
                shown.append(table(["CONTAINER", "CPU %", "", "MEM", ""], cells))
        found = list(processes_of(context, project, services or ()))
        rows = [[each.container.service, str(each.container.number), *cells] for each in found for cells in each.rows]
        if rows:
            shown.append(table(["SERVICE", "#", *found[0].titles], rows))
        if follow and sys.stdout.isatty():
            sys.stdout.write("\x1b[H\x1b[2J")
        if shown:
            print("\n\n".join(shown), flush=True)
        if not follow or not found:
            return
