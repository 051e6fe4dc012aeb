"""`help`: shows the help of a command."""

from __future__ import annotations

from typing import Annotated

import typer

from runtime.errors import SkiffError


def help(
    ctx: typer.Context, command: Annotated[list[str] | None, typer.Argument(help="Command", metavar="COMMAND")] = None
) -> None:
    """Show the help of a command."""
    root = shown = ctx.find_root()
    for name in command or ():
        group = shown.command
        found = group.get_command(shown, name) if hasattr(group, "get_command") else None
        if found is None:
            raise SkiffError(f'unknown help topic: "{" ".join(command or ())}"', "`skiff help` lists the commands")
        shown = found.make_context(name, [], parent=shown, resilient_parsing=True)
    print(shown.get_help() if shown is not root else root.command.get_help(root))
