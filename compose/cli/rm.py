"""`rm`: removes containers that do not run."""

from __future__ import annotations

from typing import Annotated

import typer

from compose.cli.context import Globals
from compose.cli.flags import NO_EFFECT
from compose.cli.options import Services


def rm(
    ctx: typer.Context,
    services: Services = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Do not ask")] = False,
    stop: Annotated[bool, typer.Option("--stop", "-s", help="Stop them first")] = False,
    volumes: Annotated[bool, typer.Option("--volumes", "-v", help="Remove anonymous volumes too")] = False,
    all: Annotated[bool, typer.Option("--all", "-a", help=NO_EFFECT)] = False,
) -> None:
    """Remove containers that do not run."""
    from compose.stack.rm import RemoveRequest, remove

    common: Globals = ctx.obj
    project, _ = common.load_or_name(services)
    remove(common.context(), project, RemoveRequest(services or (), stop, volumes, assume_yes=force))
