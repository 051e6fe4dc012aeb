"""engine: the engine of this user."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any

import typer

from runtime.errors import SkiffError


def engine() -> typer.Typer:
    """Return the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="The engine of this user.", rich_markup_mode=None)

    @group.command()
    def start(ctx: typer.Context) -> None:
        """Start the engine when it does not run."""
        print(json.dumps(ctx.obj.client.engine()))

    @group.command()
    def status(ctx: typer.Context) -> None:
        """Show whether the engine runs, and where its files are."""
        from runtime.client import Client
        from runtime.client.start import runs_on_root
        from runtime.paths import Paths

        found = None
        # our own would be started by asking it
        if not ctx.obj.where.is_ours or runs_on_root(Paths.from_environment(os.environ, os.getuid())):
            with suppress(SkiffError):
                found = Client(ctx.obj.where, starts=False).engine()
        if found is None:
            print("the engine does not run")
            raise typer.Exit(1)
        print("\n".join(f"{key}: {value}" for key, value in found.items()))

    @group.command()
    def stop(
        ctx: typer.Context,
        force: Annotated[bool, typer.Option("--force", help="Kill every container first")] = False,
    ) -> None:
        """Stop the engine; containers keep running, unless --force kills them."""
        from runtime.client import Client
        from runtime.client.start import has_containers, runs
        from runtime.client.stop import stop_engine
        from runtime.paths import Paths

        where, paths = ctx.obj.where, Paths.from_environment(os.environ, os.getuid())
        # containers that were left running by an engine that is gone are killed by the next one
        client = Client(where, starts=force and where.is_ours and has_containers(paths))
        try:
            found = client.engine()
        except SkiffError:
            if where.is_ours and runs(paths):
                raise
            return
        stop_engine(client, found, force=force)

    @group.command()
    def check(
        ctx: typer.Context,
        repair: Annotated[bool, typer.Option("--repair", help="Repair what can be repaired without a loss")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON")] = False,
    ) -> None:
        """Compare the state of the disk, the engine, the keeper and the kernel.

        Exits with 1 when something differs and was not repaired.
        """
        found = ctx.obj.client.check_engine(repair=repair)
        print(json.dumps(found, indent=2) if as_json else "\n".join(_differences(found)))
        if not all(one["is_repaired"] for one in found["differences"]):
            raise typer.Exit(1)

    @group.command()
    def run(ctx: typer.Context) -> None:
        """Serve in the foreground."""
        os.execv(sys.executable, [sys.executable, "-m", "runtime.daemon"])

    @group.command()
    def install(
        user: Annotated[
            bool, typer.Option("--user", help="An engine of this user's own (default without root)")
        ] = False,
        system: Annotated[bool, typer.Option("--system", help="The system's engine (default of root)")] = False,
        socket_group: Annotated[
            str, typer.Option("--group", help="Group whose members may use the socket (default: $SKIFF_GROUP)")
        ] = "",
        root: Annotated[str, typer.Option("--root", help="State directory")] = "",
    ) -> None:
        """Write and start systemd units: any client gets an engine, stacks are back after a boot."""
        scope = [flag for flag, is_given in (("--user", user), ("--system", system)) if is_given]
        asked = [*scope, *_given("--group", socket_group), *_given("--root", root)]
        os.execv(sys.executable, [sys.executable, "-m", "runtime.install", "install", *asked])

    @group.command()
    def uninstall() -> None:
        """Stop and remove the systemd units that `install` wrote; images, containers and volumes stay."""
        os.execv(sys.executable, [sys.executable, "-m", "runtime.install", "uninstall"])

    return group


def _given(flag: str, value: str) -> list[str]:
    return [flag, value] if value else []


def _differences(found: Mapping[str, Any]) -> Iterator[str]:
    for where, counts in found["looked"].items():
        yield f"{where}: " + ", ".join(
            f"{count} {kind if count == 1 else _plural(kind)}" for kind, count in counts.items()
        )
    for one in found["differences"]:
        can = " (skiff engine check --repair)" if one["can_be_repaired"] else ""
        done = "repaired: " if one["is_repaired"] else f"to do{can}: "
        yield f"\n{one['where']}: {one['what']}\n    {done}{one['remedy']}"
    if not found["differences"]:
        yield "no differences"


def _plural(kind: str) -> str:
    return kind + ("es" if kind.endswith("s") else "s")
