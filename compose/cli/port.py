"""`port`: shows where a service's port is published."""

from __future__ import annotations

from typing import Annotated

import typer

from compose.cli.context import Globals
from compose.cli.options import Index, Service


def port(
    ctx: typer.Context,
    service: Service,
    private_port: int,
    protocol: Annotated[str, typer.Option("--protocol", help="tcp or udp")] = "tcp",
    index: Index = 0,
) -> None:
    """Show the host port of a service's port."""
    from compose.stack.inspection import port as published_port

    common: Globals = ctx.obj
    project, _ = common.load_or_name([service])
    address, number = published_port(common.context(), project, service, private_port, protocol, index)
    print(f"[{address}]:{number}" if ":" in address else f"{address}:{number}")
