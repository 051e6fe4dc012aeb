"""`start`: starts containers that were stopped."""

from __future__ import annotations

import typer

from compose.cli.context import Globals
from compose.cli.options import Services, Wait, WaitTimeout


def start(
    ctx: typer.Context,
    services: Services = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = 0,
) -> None:
    """Start containers that were stopped."""
    from compose.stack.start import StartRequest
    from compose.stack.start import start as start_containers

    common: Globals = ctx.obj
    project, has_files = common.load_or_name(services)
    request = StartRequest(services or (), wait, wait_timeout)
    start_containers(common.context(), project, request, has_files=has_files)
