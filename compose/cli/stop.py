"""`stop`: stops containers and keeps them."""

from __future__ import annotations

import typer

from compose.cli.context import Globals
from compose.cli.options import Services, Timeout


def stop(ctx: typer.Context, services: Services = None, timeout: Timeout = None) -> None:
    """Stop containers, do not remove them."""
    from compose.stack.stop import StopRequest
    from compose.stack.stop import stop as stop_stack

    common: Globals = ctx.obj
    project, _ = common.load_or_name(services)
    stop_stack(common.context(), project, StopRequest(services or (), timeout))
