"""Options and output that the commands share which remove what is not used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from compose.cli.context import Globals
    from compose.stack.prune import PruneRequest

Force = Annotated[bool, typer.Option("--force", "-f", help="Do not ask")]
MissingIsFine = Annotated[bool, typer.Option("--force", "-f", help="One that is not there is no error")]
Filters = Annotated[list[str] | None, typer.Option("--filter", help="KEY=VALUE: label=NAME, until=24h")]
Names = Annotated[list[str], typer.Argument(help="Names or IDs")]
_TITLES = {
    "containers": "Deleted Containers:",
    "networks": "Deleted Networks:",
    "volumes": "Deleted Volumes:",
    "images": "Deleted Images:",
    "build": "Deleted build cache objects:",
}


def show_pruned(common: Globals, request: PruneRequest) -> None:
    """Remove what is not used, and say what went. Raises SkiffError."""
    from compose.render.table import size
    from compose.stack.prune import prune

    common.refuse_dry_run("prune")
    pruned = prune(common.context(), request)
    if pruned is None:
        return
    for kind, title in _TITLES.items():
        names = [name for of, name in pruned.removed if of == kind]
        if names:
            print(title, *names, "", sep="\n")
    print(f"Total reclaimed space: {size(pruned.freed_bytes)}")
