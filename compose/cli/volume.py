"""volume: the volumes of the engine."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from compose.cli.options import Format, OnlyIds, check_format
from compose.cli.pruning import Filters, Force, MissingIsFine, Names, show_pruned


def volume() -> typer.Typer:
    """Return the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="Volumes of the engine.", rich_markup_mode=None)

    @group.command("ls")
    def list_(ctx: typer.Context, filter: Filters = None, format: Format = "", quiet: OnlyIds = False) -> None:
        """List volumes."""
        from compose.plan.project import PROJECT
        from compose.render.template import formatted
        from compose.stack.prune import parse_filters

        check_format(format)
        found = sorted(ctx.obj.client.volumes(parse_filters(filter or ())), key=lambda one: str(one["Name"]))
        rows = [{**volume, "Project": (volume.get("Labels") or {}).get(PROJECT, "")} for volume in found]
        if quiet:
            print(*(one["Name"] for one in rows), sep="\n", end="\n" if rows else "")
        elif text := formatted(format, rows, (("DRIVER", "Driver"), ("VOLUME NAME", "Name"), ("PROJECT", "Project"))):
            print(text)

    @group.command()
    def inspect(ctx: typer.Context, names: Names) -> None:
        """Show all about volumes."""
        print(json.dumps([ctx.obj.client.volume(name) for name in names], indent=2))

    @group.command()
    def rm(
        ctx: typer.Context,
        names: Names,
        force: MissingIsFine = False,
    ) -> None:
        """Remove volumes that no container uses."""
        ctx.obj.refuse_dry_run("volume rm")
        for name in names:
            ctx.obj.client.remove_volume(name, force=force)
            print(name)

    @group.command()
    def prune(
        ctx: typer.Context,
        all: Annotated[bool, typer.Option("--all", "-a", help="Those with a name, too")] = False,
        filter: Filters = None,
        force: Force = False,
    ) -> None:
        """Remove volumes that no container uses."""
        from compose.stack.prune import PruneRequest

        show_pruned(
            ctx.obj, PruneRequest(("volumes",), frozenset({"volumes"} if all else ()), filter or (), assume_yes=force)
        )

    return group
