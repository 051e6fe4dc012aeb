"""`volumes`: lists the volumes of the project."""

from __future__ import annotations

import typer

from compose.cli.context import Globals
from compose.cli.options import Format, OnlyIds, Services


def volumes(ctx: typer.Context, services: Services = None, format: Format = "", quiet: OnlyIds = False) -> None:
    """List the volumes of the project, or those that services use."""
    from compose.stack.ps import volumes as volumes_of

    common: Globals = ctx.obj
    format = format or common.docker_format("volumes")
    project, _ = common.load_or_name(services)
    rows = [
        {
            "Name": volume["Name"],
            "Driver": volume["Driver"],
            "Labels": ",".join(f"{key}={value}" for key, value in (volume.get("Labels") or {}).items()),
            "Mountpoint": volume.get("Mountpoint", ""),
            "Scope": volume.get("Scope", "local"),
        }
        for volume in volumes_of(common.context(), project, services or ())
    ]
    if quiet:
        for row in rows:
            print(row["Name"])
        return
    from compose.render.template import formatted

    if text := formatted(format, rows, (("DRIVER", "Driver"), ("VOLUME NAME", "Name"))):
        print(text)
