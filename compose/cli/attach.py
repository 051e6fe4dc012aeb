"""`attach`: attaches to the streams of a container."""

from __future__ import annotations

from typing import Annotated

import typer

from compose.cli.context import Globals
from compose.cli.options import Index, Service


def attach(
    ctx: typer.Context,
    service: Service,
    index: Index = 0,
    no_stdin: Annotated[bool, typer.Option("--no-stdin", help="Do not attach standard input")] = False,
    sig_proxy: Annotated[
        bool, typer.Option("--sig-proxy/--no-sig-proxy", help="Pass signals on to the process")
    ] = True,
    detach_keys: Annotated[str, typer.Option("--detach-keys", help="Keys that detach from the container")] = "",
) -> int:
    """Attach to the streams of a container that runs."""
    from compose.cli.terminal import TerminalConsole
    from compose.stack.attach import AttachRequest
    from compose.stack.attach import attach as attach_to

    common: Globals = ctx.obj
    common.refuse_dry_run("attach")
    project, _ = common.load_or_name([service])
    request = AttachRequest(service, index, not no_stdin, sig_proxy, detach_keys)
    return attach_to(common.context(), project, request, TerminalConsole())
