"""builder: the build cache of the engine."""

from __future__ import annotations

from typing import Annotated

import typer

from compose.cli.pruning import Filters, Force, show_pruned
from runtime.errors import SkiffError


def builder() -> typer.Typer:
    """Return the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="The engine's build cache.", rich_markup_mode=None)

    @group.callback()
    def only_groups() -> None:
        pass

    @group.command()
    def prune(
        ctx: typer.Context,
        keep: Annotated[
            str,
            typer.Option(
                "--keep-storage",
                "--max-used-space",
                "--reserved-space",
                help="Keep so much of what was used last: 512m, 10g",
            ),
        ] = "",
        filter: Filters = None,
        force: Force = False,
        all: Annotated[bool, typer.Option("--all", "-a", help="For scripts of docker: no effect")] = False,
    ) -> None:
        """Remove build cache, what was not used for longest first."""
        from compose.stack.prune import PruneRequest
        from compose.units import size_bytes

        try:
            keep_bytes = size_bytes(keep) if keep else 0
        except ValueError as error:
            raise SkiffError(f"--keep-storage: {error}", "write 512m, 10g") from None
        show_pruned(ctx.obj, PruneRequest(("build",), filters=filter or (), keep_bytes=keep_bytes, assume_yes=force))

    return group
