"""`wait`: waits until services stop."""

from __future__ import annotations

from typing import Annotated

import typer

from compose.cli.context import Globals


def wait(
    ctx: typer.Context,
    services: Annotated[list[str], typer.Argument(help="Services to wait for")],
    down_project: Annotated[bool, typer.Option("--down-project", help="Take the project down then")] = False,
) -> int:
    """Wait until services stop; exit with the last exit code."""
    from compose.stack.waiting import wait_for_exit

    common: Globals = ctx.obj
    project, _ = common.load_or_name(services)
    context = common.context()
    code = wait_for_exit(context, project, services, only_first=down_project)
    if down_project:
        from compose.stack.down import DownRequest, down

        project, has_files = common.load_or_name()
        removes = common.is_set("COMPOSE_REMOVE_ORPHANS")
        down(context, project, DownRequest(remove_orphans=removes), has_files=has_files)
    return code
