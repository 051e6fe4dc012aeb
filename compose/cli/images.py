"""`images`: lists the images of containers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from compose.cli.context import Globals
from compose.cli.options import Format, OnlyIds, Services, check_format

if TYPE_CHECKING:
    from compose.plan.project import ObservedContainer

COLUMNS = (
    ("CONTAINER", "ContainerName"),
    ("REPOSITORY", "Repository"),
    ("TAG", "Tag"),
    ("PLATFORM", "Platform"),
    ("IMAGE ID", "ID"),
    ("SIZE", "Size"),
    ("CREATED", "Ago"),
)


def images(ctx: typer.Context, services: Services = None, format: Format = "", quiet: OnlyIds = False) -> None:
    """List the images of containers."""
    from compose.stack.ps import images as images_of

    check_format(format)
    common: Globals = ctx.obj
    project, _ = common.load_or_name(services)
    rows = [_row(*each) for each in images_of(common.context(), project, services or ())]
    if quiet:
        for id in dict.fromkeys(row["ID"] for row in rows):
            print(id.removeprefix("sha256:"))
        return
    from compose.render.table import size
    from compose.render.template import formatted

    if format == "json":
        rows = [{key: value for key, value in row.items() if key != "Ago"} for row in rows]
    else:
        rows = [{**row, "ID": row["ID"].removeprefix("sha256:")[:12], "Size": size(row["Size"])} for row in rows]
    if text := formatted(format, rows, COLUMNS, as_list=True):
        print(text)


def _row(container: ObservedContainer, image: Mapping[str, Any]) -> dict[str, Any]:
    name = ((image.get("RepoTags") or [""])[0] or "<none>:<none>").rpartition(":")
    created = str(image.get("Created") or "")
    return {
        "ID": image["Id"],
        "ContainerName": container.name,
        "Repository": name[0],
        "Tag": name[2],
        "Platform": "/".join(filter(None, (image.get("Os"), image.get("Architecture"), image.get("Variant")))),
        "Size": image["Size"],
        "Created": created,
        "LastTagTime": (image.get("Metadata") or {}).get("LastTagTime") or created,
        "Ago": _since(created),
    }


def _since(moment: str) -> str:
    from datetime import datetime

    from compose.render.table import ago

    try:
        return ago(datetime.fromisoformat(moment[:19] + "+00:00").timestamp())
    except ValueError:
        return "N/A"
