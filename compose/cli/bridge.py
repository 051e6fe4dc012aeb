"""`bridge`: converts projects into files for other platforms."""

from __future__ import annotations

from typing import Annotated

import typer

from compose.cli.context import Globals
from compose.cli.options import Format, List, OnlyIds


def bridge() -> typer.Typer:
    """Return the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="Convert projects for other platforms.", rich_markup_mode=None)

    @group.command()
    def convert(
        ctx: typer.Context,
        output: Annotated[str, typer.Option("--output", "-o", help="Directory for the files")] = "out",
        templates: Annotated[str, typer.Option("--templates", help="Directory of templates")] = "",
        transformation: Annotated[
            List, typer.Option("--transformation", "-t", help="Image of a transformer; may be given several times")
        ] = None,
    ) -> None:
        """Run the model of the project through transformers, which write files."""
        from compose.stack.bridge import ConvertRequest
        from compose.stack.bridge import convert as run

        common: Globals = ctx.obj
        common.refuse_dry_run("bridge convert")
        project = common.load()
        run(common.context(), project, ConvertRequest(output, templates, transformation or ()))

    group.add_typer(_transformations(), name="transformations")
    return group


def _transformations() -> typer.Typer:
    group = typer.Typer(no_args_is_help=True, help="Manage transformer images.", rich_markup_mode=None)

    @group.command()
    def create(
        ctx: typer.Context,
        path: Annotated[str, typer.Argument(help="Directory to write")],
        from_: Annotated[str, typer.Option("--from", "-f", help="Image whose templates are copied")] = "",
    ) -> None:
        """Write a transformer of your own, with the templates of another."""
        from compose.stack.bridge import create_transformation

        common: Globals = ctx.obj
        common.refuse_dry_run("bridge transformations create")
        print(f'Transformer created in "{create_transformation(common.context(), path, from_)}"')

    @group.command("list", hidden=True)
    @group.command("ls")
    def list_(ctx: typer.Context, format: Format = "", quiet: OnlyIds = False) -> None:
        """List the transformer images of the engine."""
        from compose.render.table import ago
        from compose.render.template import formatted
        from compose.stack.bridge import transformations

        found = transformations(ctx.obj.context())
        rows = [
            {
                "ID": image["Id"].removeprefix("sha256:")[:12],
                "Repository": name.rpartition(":")[0],
                "Tag": name.rpartition(":")[2],
                "CreatedSince": ago(image["Created"]),
            }
            for image in found
            for name in image.get("RepoTags") or ("<none>:<none>",)
        ]
        if quiet:
            print(*(row["ID"] for row in rows), sep="\n", end="\n" if rows else "")
            return
        columns = (("IMAGE ID", "ID"), ("REPO", "Repository"), ("TAGS", "Tag"), ("CREATED", "CreatedSince"))
        if text := formatted(format, rows, columns):
            print(text)

    return group
