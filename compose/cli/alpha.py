"""`alpha`: commands that docker compose calls experimental."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from compose.cli.context import Globals
from runtime.errors import SkiffError


def alpha() -> typer.Typer:
    """Return the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="Experimental commands.", rich_markup_mode=None)

    @group.callback()
    def only_groups() -> None:
        pass

    @group.command()
    def viz(
        ctx: typer.Context,
        ports: Annotated[bool, typer.Option("--ports", help="Show the ports of services")] = False,
        networks: Annotated[bool, typer.Option("--networks", help="Show the networks of services")] = False,
        image: Annotated[bool, typer.Option("--image", help="Show the images of services")] = False,
        indentation_size: Annotated[
            int, typer.Option("--indentation-size", help="Number of tabs or spaces of an indentation")
        ] = 1,
        spaces: Annotated[bool, typer.Option("--spaces", help="Indent with spaces instead of tabs")] = False,
    ) -> None:
        """Print the services and their dependencies as a graph for graphviz."""
        from compose.render.viz import graph

        if indentation_size < 0:
            raise SkiffError(f"invalid indentation size: {indentation_size}", "write a number from 0 on")
        common: Globals = ctx.obj
        print("viz command is EXPERIMENTAL", file=sys.stderr)
        indentation = (" " if spaces else "\t") * indentation_size
        print(
            graph(
                common.load(makes_containers=False),
                networks=networks,
                ports=ports,
                images=image,
                indentation=indentation,
            )
        )

    return group
