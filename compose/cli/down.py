"""`down`: stops and removes containers and networks."""

from __future__ import annotations

from typing import Annotated

import typer

from compose.cli.context import Globals
from compose.cli.options import Services, Timeout
from runtime.errors import SkiffError


def down(
    ctx: typer.Context,
    services: Services = None,
    volumes: Annotated[bool, typer.Option("--volumes", "-v", help="Remove volumes too")] = False,
    rmi: Annotated[str, typer.Option("--rmi", help="Remove images: all, or local ones only")] = "",
    remove_orphans: Annotated[
        bool | None,
        typer.Option(
            "--remove-orphans", help="Remove containers of services that the files no longer have, and one-offs"
        ),
    ] = None,
    timeout: Timeout = None,
) -> None:
    """Stop and remove containers and networks."""
    from compose.stack.down import DownRequest
    from compose.stack.down import down as take_down

    if rmi not in ("", "all", "local"):
        raise SkiffError(f'invalid value for --rmi: "{rmi}"', "write --rmi all or --rmi local")
    common: Globals = ctx.obj
    project, has_files = common.load_or_name(services)
    removes = common.is_set("COMPOSE_REMOVE_ORPHANS") if remove_orphans is None else remove_orphans
    request = DownRequest(services or (), volumes, rmi, removes, timeout)
    take_down(common.context(), project, request, has_files=has_files)
