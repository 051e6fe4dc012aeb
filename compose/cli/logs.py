"""`logs`: shows the output of containers."""

from __future__ import annotations

from typing import Annotated

import typer

from compose.cli.context import Globals
from compose.cli.options import Index, NoColor, NoLogPrefix, Services, Since, Until
from runtime.errors import SkiffError


def logs(
    ctx: typer.Context,
    services: Services = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show new output until interrupted")] = False,
    tail: Annotated[str, typer.Option("--tail", "-n", help="Lines from the end of each container's log")] = "all",
    since: Since = "",
    until: Until = "",
    timestamps: Annotated[bool, typer.Option("--timestamps", "-t", help="Show times")] = False,
    no_color: NoColor = False,
    no_log_prefix: NoLogPrefix = False,
    index: Index = 0,
) -> None:
    """Show the output of containers, merged by time."""
    from compose.cli.times import api_time
    from compose.render.logs import LogPrinter
    from compose.stack.logs import LogsRequest
    from compose.stack.logs import logs as pass_on_logs

    common: Globals = ctx.obj
    if tail != "all" and not tail.lstrip("-").isdigit():
        raise SkiffError(f"--tail: {tail!r} is not a number of lines", "write a number, or all")
    project, _ = common.load_or_name(services)
    request = LogsRequest(
        services or (),
        index,
        follow,
        "all" if tail.startswith("-") else tail,
        api_time(since),
        api_time(until),
        timestamps,
    )
    printer = LogPrinter(prefix=not no_log_prefix, colour=False if no_color else None, timestamps=timestamps)
    pass_on_logs(common.context(), project, request, printer)
