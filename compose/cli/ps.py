"""`ps`: lists containers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compose.cli.context import Globals
from compose.cli.options import Format, OnlyIds, Services
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.plan.project import ObservedContainer

COLUMNS = (
    ("NAME", "Name"),
    ("IMAGE", "Image"),
    ("COMMAND", "Command"),
    ("SERVICE", "Service"),
    ("CREATED", "RunningFor"),
    ("STATUS", "Status"),
    ("PORTS", "Ports"),
)
SHOWN_COMMAND, SHOWN_MOUNT = 20, 15
"""How many characters are shown unless all are asked for."""
ENGINE = "com.docker.compose.engine"
"""The label that names the engine of a container, where it is not this one."""


def ps(
    ctx: typer.Context,
    services: Services = None,
    all: Annotated[bool, typer.Option("--all", "-a", help="Stopped ones and one-offs too")] = False,
    format: Format = "",
    quiet: OnlyIds = False,
    show_services: Annotated[bool, typer.Option("--services", help="Names of services only")] = False,
    status: Annotated[list[str] | None, typer.Option("--status", help="Only those in this state")] = None,
    filter: Annotated[list[str] | None, typer.Option("--filter", help="status=STATE")] = None,
    no_trunc: Annotated[bool, typer.Option("--no-trunc", help="Show whole commands")] = False,
    orphans: Annotated[
        bool, typer.Option("--orphans/--no-orphans", help="Containers of services that the files no longer have, too")
    ] = True,
) -> None:
    """List containers."""
    from compose.stack.ps import PsRequest, containers, out_of_memory

    common: Globals = ctx.obj
    format = format or common.docker_format("ps")
    states = [*(status or ()), *(_state(one) for one in filter or ())]
    project, has_files = common.load_or_name(services)
    request = PsRequest(services or (), states, all, orphans)
    context = common.context()
    found = containers(context, project, request, has_files=has_files)
    if quiet:
        for container in found:
            print(container.id)
    elif show_services:
        for name in dict.fromkeys(container.service for container in found):
            print(name)
    else:
        from compose.render.template import formatted

        columns = COLUMNS if not any(ENGINE in each.labels for each in found) else (*COLUMNS, ("ENGINE", "Engine"))
        rows = [_row(project.name, container, whole=no_trunc) for container in found]
        if format in ("", "table"):  # scripts get what docker compose writes
            killed = out_of_memory(context, found)
            for row, container in zip(rows, found, strict=True):
                row["Status"] += ", out of memory" if container.id in killed else ""
        if text := formatted(format, rows, columns):
            print(text)


def _state(text: str) -> str:
    key, equals, value = text.partition("=")
    if not equals:
        raise SkiffError("arguments to --filter should be in form KEY=VAL", "write --filter status=running")
    if key != "status":
        raise SkiffError(f"unknown filter {key}", "containers are filtered by status=STATE")
    return value


def _row(project: str, container: ObservedContainer, *, whole: bool) -> dict[str, Any]:
    from compose.render.ports import ports
    from compose.render.table import ago

    row = container.document
    command = str(row.get("Command", ""))
    mounts = row.get("Mounts") or ()
    listed = row.get("Ports") or ()
    return {
        "Command": f'"{_shown(command, SHOWN_COMMAND, whole=whole)}"',
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(row["Created"])),
        "Engine": container.labels.get(ENGINE, ""),
        "ExitCode": container.exit_code or 0,
        "Health": container.health,
        "ID": container.id if whole else container.id[:12],
        "Image": row.get("Image", ""),
        "Labels": ",".join(f"{key}={value}" for key, value in container.labels.items()),
        "LocalVolumes": str(sum(mount.get("Driver") == "local" for mount in mounts)),
        "Mounts": ",".join(
            _shown(str(mount.get("Name") or mount.get("Source") or ""), SHOWN_MOUNT, whole=whole) for mount in mounts
        ),
        "Name": container.name,
        "Names": container.name,
        "Networks": ",".join((row.get("NetworkSettings") or {}).get("Networks") or {}),
        "Ports": ports(listed),
        "Project": project,
        "Publishers": [
            {
                "URL": port.get("IP", ""),
                "TargetPort": port["PrivatePort"],
                "PublishedPort": port.get("PublicPort", 0),
                "Protocol": port["Type"],
            }
            for port in listed
        ],
        "RunningFor": ago(row["Created"]),
        "Service": container.service,
        "Size": "0B",
        "State": container.state,
        "Status": container.status,
    }


def _shown(text: str, most: int, *, whole: bool) -> str:
    return text if whole or len(text) <= most else text[: most - 1] + "…"
