"""system: the engine's disk."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from compose.cli.pruning import Filters, Force, show_pruned


def system() -> typer.Typer:
    """Return the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="The engine's disk.", rich_markup_mode=None)

    @group.command()
    def df(
        ctx: typer.Context,
        format: Annotated[str, typer.Option("--format", help="table or json")] = "table",
    ) -> None:
        """Show what takes room on the disk, and which project needs it."""
        from compose.render.table import size, table
        from compose.stack.usage import by_kind, by_project

        usage = ctx.obj.client.data_usage()
        kinds, projects = by_kind(usage), by_project(usage)
        if format == "json":
            print(json.dumps({"kinds": [asdict(one) for one in kinds], "projects": [asdict(one) for one in projects]}))
            return
        rows = [
            (
                one.kind,
                str(one.total),
                str(one.active),
                size(one.size_bytes),
                _part(one.reclaimable_bytes, one.size_bytes),
            )
            for one in kinds
        ]
        print(table(("TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"), rows))
        if not projects:
            return
        needs = [
            (
                one.name,
                f"{one.containers} ({size(one.containers_bytes)})",
                f"{one.volumes} ({size(one.volumes_bytes)})",
                f"{one.images} ({size(one.images_bytes)})",
            )
            for one in projects
        ]
        print()
        print(table(("PROJECT", "CONTAINERS", "VOLUMES", "IMAGES"), needs))

    @group.command()
    def prune(
        ctx: typer.Context,
        all: Annotated[bool, typer.Option("--all", "-a", help="All images that no container uses")] = False,
        volumes: Annotated[bool, typer.Option("--volumes", help="Anonymous volumes, too")] = False,
        filter: Filters = None,
        force: Force = False,
    ) -> None:
        """Remove stopped containers, and networks, images and build cache that nothing uses."""
        from compose.stack.prune import PruneRequest

        kinds = ["containers", "networks", *(["volumes"] if volumes else []), "images", "build"]
        everything = frozenset({"images"} if all else ())
        show_pruned(ctx.obj, PruneRequest(kinds, everything, filter or (), assume_yes=force))

    return group


def _part(reclaimable_bytes: int, size_bytes: int) -> str:
    from compose.render.table import size

    share = f" ({100 * reclaimable_bytes // size_bytes}%)" if size_bytes else ""
    return size(reclaimable_bytes) + share
