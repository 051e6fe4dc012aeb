"""`scale`: sets the number of containers of services."""

from __future__ import annotations

from typing import Annotated

import typer

from compose.cli.context import Globals
from compose.cli.options import NoDeps, scales


def scale(
    ctx: typer.Context,
    wanted: Annotated[list[str], typer.Argument(metavar="SERVICE=NUMBER...")],
    no_deps: NoDeps = False,
) -> None:
    """Set the number of containers of services."""
    from compose.plan.up import UpOptions
    from compose.stack.up import UpRequest, up

    common: Globals = ctx.obj
    numbers = scales(wanted)
    project = common.load(tuple(numbers))
    options = UpOptions(tuple(numbers), with_dependencies=not no_deps, scale=numbers)
    up(common.context(), project, UpRequest(options, ignore_orphans=True))
