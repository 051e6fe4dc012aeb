"""image, engine, doctor: the runtime itself."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any

import typer

from compose.cli.context import Globals
from compose.render.table import ago, size, table
from runtime.errors import SkiffError

CHUNK_BYTES = 1 << 20


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(_image(), name="image")
    app.add_typer(_engine(), name="engine")

    @app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
    def doctor(ctx: typer.Context) -> None:
        """Check what this machine offers; print the cure for what is missing."""
        os.execv(sys.executable, [sys.executable, "-m", "runtime.doctor", *ctx.args])

    @app.command(
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
        add_help_option=False,
    )
    def oci(ctx: typer.Context) -> None:
        """Run containers from OCI bundles: a runtime with the command line of runc and crun."""
        os.execv(sys.executable, [sys.executable, "-m", "runtime.oci.program", *ctx.args])


def _image() -> typer.Typer:
    group = typer.Typer(no_args_is_help=True, help="Images of the engine.", rich_markup_mode=None)

    @group.command("ls")
    def list_(
        ctx: typer.Context,
        name: Annotated[str, typer.Argument(help="Name, or pattern")] = "",
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="IDs alone")] = False,
        format: Annotated[str, typer.Option("--format")] = "table",
    ) -> None:
        """List images."""
        common: Globals = ctx.obj
        found = common.client.images({"reference": [name]} if name else {})
        if quiet:
            for image in found:
                print(image["Id"])
        elif format == "json":
            print(json.dumps(found))
        else:
            rows = [
                (*tag.rsplit(":", 1), image["Id"][7:19], ago(image["Created"]), size(image["Size"]))
                for image in found
                for tag in image["RepoTags"] or ["<none>:<none>"]
            ]
            print(table(("REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"), rows))

    @group.command()
    def bootstrap(ctx: typer.Context, name: Annotated[str, typer.Argument(help="debian:<suite>[-slim]")]) -> None:
        """Make a Debian base image from Debian's own mirror."""
        _show(ctx.obj.client.bootstrap(name))

    @group.command()
    def pull(ctx: typer.Context, name: str) -> None:
        """Pull an image."""
        _show(ctx.obj.client.pull(name))

    @group.command()
    def push(ctx: typer.Context, name: str) -> None:
        """Push an image."""
        _show(ctx.obj.client.push(name))

    @group.command()
    def load(
        ctx: typer.Context,
        source: Annotated[str, typer.Option("--input", "-i", help="Archive; standard input when left out")] = "",
    ) -> None:
        """Load images from an archive."""
        if source and not os.path.isfile(source):
            raise SkiffError(f"{source}: no such file", "name what `docker save` or `skiff image save` wrote")
        file = open(source, "rb") if source else sys.stdin.buffer  # noqa: SIM115 - closed with the process
        _show(ctx.obj.client.load(_chunks(file)))

    @group.command()
    def save(
        ctx: typer.Context,
        names: list[str],
        output: Annotated[str, typer.Option("--output", "-o", help="File; standard output when left out")] = "",
    ) -> None:
        """Save images to an archive."""
        if not output:
            for data in ctx.obj.client.save(names):
                sys.stdout.buffer.write(data)
            return
        part = f"{output}.part"
        try:
            with open(part, "wb") as file:
                for data in ctx.obj.client.save(names):
                    file.write(data)
            os.replace(part, output)
        finally:
            if os.path.exists(part):
                os.unlink(part)

    @group.command()
    def rm(
        ctx: typer.Context,
        names: list[str],
        force: Annotated[bool, typer.Option("--force", "-f")] = False,
    ) -> None:
        """Remove images."""
        for name in names:
            for done in ctx.obj.client.remove_image(name, force=force):
                for what, which in done.items():
                    print(f"{what}: {which}")

    @group.command()
    def tag(ctx: typer.Context, name: str, wanted: str) -> None:
        """Give an image another name."""
        repository, _, last = wanted.rpartition(":")
        if "/" in last or not repository:
            repository, last = wanted, "latest"
        ctx.obj.client.tag(name, repository, last)

    @group.command()
    def inspect(ctx: typer.Context, name: str) -> None:
        """Show all about an image."""
        print(json.dumps(ctx.obj.client.image(name), indent=2))

    return group


def _chunks(file: Any) -> Iterator[bytes]:
    while data := file.read(CHUNK_BYTES):
        yield data


def _show(messages: Iterator[Mapping[str, Any]]) -> None:
    for message in messages:
        text = str(message.get("stream") or message.get("status") or "").rstrip()
        if text:
            print(f"{message['id']}: {text}" if message.get("id") else text, flush=True)


def _engine() -> typer.Typer:
    group = typer.Typer(no_args_is_help=True, help="The engine of this user.", rich_markup_mode=None)

    @group.command()
    def start(ctx: typer.Context) -> None:
        """Start the engine when it does not run."""
        print(json.dumps(ctx.obj.client.engine()))

    @group.command()
    def status(ctx: typer.Context) -> None:
        """Say whether the engine runs, and where its things are."""
        from runtime.client import Client
        from runtime.client.start import runs
        from runtime.paths import Paths

        found = None
        # our own would be started by asking it
        if not ctx.obj.where.is_ours or runs(Paths.from_environment(os.environ, os.getuid())):
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
        """Stop the engine; containers that run live on, unless they are killed with --force."""
        from runtime.client import Client

        client = Client(ctx.obj.where, starts=False)
        try:
            found = client.engine()
        except SkiffError:
            return
        helpers = (found.get("doorman_pid", 0), found["keeper_pid"] if force else 0)
        waits = [os.pidfd_open(pid) for pid in _alive(found["engine_pid"], *helpers)]
        client.stop_engine(force=force)
        import select

        for descriptor in waits:
            select.select([descriptor], [], [], 20)
            os.close(descriptor)

    @group.command()
    def check(
        ctx: typer.Context,
        repair: Annotated[bool, typer.Option("--repair", help="Repair what can be repaired without a loss")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON")] = False,
    ) -> None:
        """Hold against each other what the disk, the engine, the keeper and the kernel say.

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
        yield f"{where}: " + ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts.items())
    for one in found["differences"]:
        can = " (skiff engine check --repair)" if one["can_be_repaired"] else ""
        done = "repaired: " if one["is_repaired"] else f"to do{can}: "
        yield f"\n{one['where']}: {one['what']}\n    {done}{one['remedy']}"
    if not found["differences"]:
        yield "no differences"


def _alive(*pids: int) -> list[int]:
    return [pid for pid in pids if pid and os.path.exists(f"/proc/{pid}")]
