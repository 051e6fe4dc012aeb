"""`logs`: shows the output of containers."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from compose.cli.context import Globals
from compose.cli.options import Index, NoColor, NoLogPrefix, Services, Until
from runtime.errors import SkiffError


def logs(
    ctx: typer.Context,
    services: Services = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show new output until interrupted")] = False,
    tail: Annotated[str, typer.Option("--tail", "-n", help="Lines from the end of each container's log")] = "all",
    since: Annotated[str, typer.Option("--since", help="Time, how long ago (10m), or last-up, last-restart")] = "",
    until: Until = "",
    timestamps: Annotated[bool, typer.Option("--timestamps", "-t", help="Show times")] = False,
    no_color: NoColor = False,
    no_log_prefix: NoLogPrefix = False,
    index: Index = 0,
    grep: Annotated[list[str] | None, typer.Option("--grep", help="Only lines that match a regular expression")] = None,
    exclude: Annotated[list[str] | None, typer.Option("--exclude", help="No lines that match one")] = None,
    level: Annotated[
        str,
        typer.Option("--level", help="Only lines that say they are at least this severe: trace … info, warn, error"),
    ] = "",
    stderr: Annotated[bool, typer.Option("--stderr", help="Only what containers write to standard error")] = False,
    json: Annotated[bool, typer.Option("--json", help="An object a line: container, stream, time, line")] = False,
    marks: Annotated[
        bool | None,
        typer.Option(
            "--marks/--no-marks", help="Say between lines where a run ended and began; on a terminal by default"
        ),
    ] = None,
) -> None:
    """Show the output of containers, merged by time."""
    from compose.cli.times import api_time
    from compose.logs.sink import LogSink
    from compose.render.logs import LogPrinter
    from compose.stack.logs import LAST_RESTART, LAST_UP, LogsRequest
    from compose.stack.logs import logs as pass_on_logs

    common: Globals = ctx.obj
    if tail != "all" and not tail.lstrip("-").isdigit():
        raise SkiffError(f"--tail: {tail!r} is not a number of lines", "write a number, or all")
    project, _ = common.load_or_name(services)
    since_run = since if since in (LAST_UP, LAST_RESTART) else ""
    request = LogsRequest(
        services or (),
        index,
        follow,
        "all" if tail.startswith("-") else tail,
        "" if since_run else api_time(since),
        api_time(until),
        timestamps,
        since_run,
        (2,) if stderr else (1, 2),
        is_exact=json,
        marks=sys.stdout.isatty() if marks is None else marks,
    )
    printer: LogSink = LogPrinter(
        prefix=not no_log_prefix, colour=False if no_color else common.colours, timestamps=timestamps
    )
    if json:
        from compose.render.json_logs import JsonLogPrinter

        printer = JsonLogPrinter()
    if grep or exclude or level:
        from compose.logs.filtered import FilteredSink
        from compose.logs.filtering import LineFilter

        printer = FilteredSink(printer, LineFilter(grep or (), exclude or (), level))
    pass_on_logs(common.context(), project, request, printer)
