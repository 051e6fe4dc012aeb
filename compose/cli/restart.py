"""`restart`: restarts containers."""

from __future__ import annotations

from typing import Annotated

import typer

from compose.cli.context import Globals
from compose.cli.options import Services, Timeout


def restart(
    ctx: typer.Context,
    services: Services = None,
    timeout: Timeout = None,
    no_deps: Annotated[bool, typer.Option("--no-deps", help="Do not restart dependants")] = False,
) -> None:
    """Restart containers, and dependants that ask to be restarted with them."""
    from compose.stack.restart import RestartRequest
    from compose.stack.restart import restart as restart_containers

    common: Globals = ctx.obj
    project, _ = common.load_or_name()
    request = RestartRequest(services or (), timeout, with_dependants=not no_deps)
    restart_containers(common.context(), project, request)
