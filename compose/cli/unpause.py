"""`unpause`: resumes paused containers."""

from __future__ import annotations

import typer

from compose.cli.context import Globals
from compose.cli.options import Services


def unpause(ctx: typer.Context, services: Services = None) -> None:
    """Resume paused containers."""
    from compose.stack.pause import unpause as unpause_containers

    common: Globals = ctx.obj
    project, _ = common.load_or_name(services)
    unpause_containers(common.context(), project, services or ())
