"""`kill`: sends a signal to containers."""

from __future__ import annotations

from typing import Annotated

import typer

from compose.cli.context import Globals
from compose.cli.options import Services


def kill(
    ctx: typer.Context,
    services: Services = None,
    signal: Annotated[str, typer.Option("--signal", "-s", help="Signal to send")] = "SIGKILL",
    remove_orphans: Annotated[
        bool, typer.Option("--remove-orphans", help="Kill containers of services that the files no longer have, too")
    ] = False,
) -> None:
    """Send a signal to containers."""
    from compose.stack.kill import KillRequest
    from compose.stack.kill import kill as kill_containers

    common: Globals = ctx.obj
    project, has_files = common.load_or_name(services)
    request = KillRequest(services or (), signal, remove_orphans)
    kill_containers(common.context(), project, request, has_files=has_files)
