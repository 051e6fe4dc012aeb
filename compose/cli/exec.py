"""`exec`: runs a command in a container that runs."""

from __future__ import annotations

from typing import Annotated

import typer

from compose.cli.context import Globals
from compose.cli.options import Index, Interactive, NoTty, Service, Tty


def exec(
    ctx: typer.Context,
    service: Service,
    command: Annotated[list[str], typer.Argument(help="Command and its arguments")],
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background")] = False,
    no_tty: NoTty = False,
    tty: Tty = False,
    interactive: Interactive = True,
    env: Annotated[list[str] | None, typer.Option("--env", "-e", help="NAME=VALUE")] = None,
    user: Annotated[str, typer.Option("--user", "-u", help="User, or user ID")] = "",
    workdir: Annotated[str, typer.Option("--workdir", "-w", help="Directory to run in")] = "",
    index: Index = 0,
    privileged: Annotated[bool, typer.Option("--privileged", help="With all capabilities")] = False,
) -> int:
    """Run a command in a container that runs."""
    from compose.cli.terminal import TerminalConsole, has_terminal
    from compose.stack.exec import ExecRequest, exec_command

    common: Globals = ctx.obj
    common.refuse_dry_run("exec")
    project, _ = common.load_or_name([service])
    request = ExecRequest(
        service,
        command,
        index,
        env or (),
        user,
        workdir,
        privileged,
        tty=not no_tty and not detach and interactive and has_terminal(),
        interactive=interactive,
        detach=detach,
    )
    return exec_command(common.context(), project, request, TerminalConsole())
