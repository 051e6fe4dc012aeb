"""`pause`: pauses containers."""

from __future__ import annotations

import typer

from compose.cli.context import Globals
from compose.cli.options import Services


def pause(ctx: typer.Context, services: Services = None) -> None:
    """Pause containers."""
    from compose.stack.pause import pause as pause_containers

    common: Globals = ctx.obj
    project, _ = common.load_or_name(services)
    pause_containers(common.context(), project, services or ())
