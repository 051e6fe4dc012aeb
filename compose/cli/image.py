"""image: the images of the engine."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from compose.cli.context import Globals
from compose.cli.options import Format, Quiet, check_format
from compose.cli.pruning import Filters, Force, Names, show_pruned
from runtime.errors import SkiffError

CHUNK_BYTES = 1 << 20
HISTORY_WIDTH = 45
Platform = Annotated[str, typer.Option("--platform", help="OS/ARCHITECTURE, as in linux/arm64")]


def image() -> typer.Typer:
    """Return the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="Images of the engine.", rich_markup_mode=None)

    @group.command("ls")
    def list_(
        ctx: typer.Context,
        name: Annotated[str, typer.Argument(help="Name, or pattern")] = "",
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="IDs only")] = False,
        format: Annotated[str, typer.Option("--format")] = "table",
    ) -> None:
        """List images."""
        from compose.render.table import ago, size, table

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
    def pull(ctx: typer.Context, names: Names, platform: Platform = "", quiet: Quiet = False) -> None:
        """Pull images."""
        from compose.stack.images import pull as pull_images

        pull_images(ctx.obj.context(quiet=quiet), names, platform or None)

    @group.command()
    def push(ctx: typer.Context, names: Names, quiet: Quiet = False) -> None:
        """Push images."""
        from compose.stack.images import push as push_images

        push_images(ctx.obj.context(quiet=quiet), names)

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
        from compose.cli.output import write_whole

        write_whole(ctx.obj.client.save(names), output)

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
    def inspect(ctx: typer.Context, names: Names) -> None:
        """Show all about images."""
        found = [ctx.obj.client.image(name) for name in names]
        print(json.dumps(found if len(found) > 1 else found[0], indent=2))

    @group.command()
    def history(
        ctx: typer.Context,
        name: str,
        no_trunc: Annotated[bool, typer.Option("--no-trunc", help="Whole texts and IDs")] = False,
        format: Format = "",
    ) -> None:
        """Show the steps that made an image, the newest first."""
        from compose.render.table import ago, size
        from compose.render.template import formatted

        check_format(format)
        rows = [
            {
                **step,
                "ID": step["Id"] if no_trunc or "<" in step["Id"] else step["Id"][7:19],
                "CreatedSince": ago(step["Created"]),
                "CreatedBy": step["CreatedBy"] if no_trunc else _cut(step["CreatedBy"]),
                "Size": size(step["Size"]),
            }
            for step in ctx.obj.client.history(name)
        ]
        columns = (("IMAGE", "ID"), ("CREATED", "CreatedSince"), ("CREATED BY", "CreatedBy"), ("SIZE", "Size"))
        print(formatted(format, rows, (*columns, ("COMMENT", "Comment"))))

    @group.command()
    def prune(
        ctx: typer.Context,
        all: Annotated[bool, typer.Option("--all", "-a", help="All that no container uses")] = False,
        filter: Filters = None,
        force: Force = False,
    ) -> None:
        """Remove images without a name that no container uses."""
        from compose.stack.prune import PruneRequest

        everything = frozenset({"images"} if all else ())
        show_pruned(ctx.obj, PruneRequest(("images",), everything, filter or (), assume_yes=force))

    return group


def _chunks(file: Any) -> Iterator[bytes]:
    while data := file.read(CHUNK_BYTES):
        yield data


def _cut(text: str) -> str:
    shown = text.replace("\n", " ")
    return shown if len(shown) <= HISTORY_WIDTH else f"{shown[: HISTORY_WIDTH - 1]}…"


def _show(messages: Iterator[Mapping[str, Any]]) -> None:
    for message in messages:
        text = str(message.get("stream") or message.get("status") or "").rstrip()
        if text:
            print(f"{message['id']}: {text}" if message.get("id") else text, flush=True)
