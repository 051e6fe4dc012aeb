"""network: the networks of the engine."""

from __future__ import annotations

import json

import typer

from compose.cli.options import Format, OnlyIds, check_format
from compose.cli.pruning import Filters, Force, MissingIsFine, Names, show_pruned
from runtime.errors import NotFoundError


def network() -> typer.Typer:
    """Return the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="Networks of the engine.", rich_markup_mode=None)

    @group.command("ls")
    def list_(ctx: typer.Context, filter: Filters = None, format: Format = "", quiet: OnlyIds = False) -> None:
        """List networks."""
        from compose.plan.project import PROJECT
        from compose.render.template import formatted
        from compose.stack.prune import parse_filters

        check_format(format)
        found = sorted(ctx.obj.client.networks(parse_filters(filter or ())), key=lambda one: str(one["Name"]))
        rows = [
            {**network, "ShortId": network["Id"][:12], "Project": (network.get("Labels") or {}).get(PROJECT, "")}
            for network in found
        ]
        if quiet:
            print(*(one["ShortId"] for one in rows), sep="\n", end="\n" if rows else "")
        elif text := formatted(
            format,
            rows,
            (
                ("NETWORK ID", "ShortId"),
                ("NAME", "Name"),
                ("DRIVER", "Driver"),
                ("SCOPE", "Scope"),
                ("PROJECT", "Project"),
            ),
        ):
            print(text)

    @group.command()
    def inspect(ctx: typer.Context, names: Names) -> None:
        """Show all about networks."""
        print(json.dumps([ctx.obj.client.network(name) for name in names], indent=2))

    @group.command()
    def rm(
        ctx: typer.Context,
        names: Names,
        force: MissingIsFine = False,
    ) -> None:
        """Remove networks that no container uses."""
        ctx.obj.refuse_dry_run("network rm")
        for name in names:
            try:
                ctx.obj.client.remove_network(name)
            except NotFoundError:
                if not force:
                    raise
            print(name)

    @group.command()
    def prune(
        ctx: typer.Context,
        filter: Filters = None,
        force: Force = False,
    ) -> None:
        """Remove networks that no container uses."""
        from compose.stack.prune import PruneRequest

        show_pruned(ctx.obj, PruneRequest(("networks",), frozenset(), filter or (), assume_yes=force))

    return group
