"""`unpause`: lets frozen containers go on."""

from __future__ import annotations

import typer

from compose.cli.context import Globals
from compose.cli.options import Services


def unpause(ctx: typer.Context, services: Services = None) -> None:
    """Let frozen containers go on."""
    from compose.stack.pause import unpause as unpause_containers

    common: Globals = ctx.obj
    project, _ = common.load_or_name(services)
    unpause_containers(common.context(), project, services or ())
