"""ps, ls, images, volumes: what there is."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from compose.cli.context import CONFIG_FILES, Globals, project_rows
from compose.cli.up import Services
from compose.plan.project import PROJECT, ObservedContainer
from compose.render.ports import ports
from compose.render.table import ago, size
from compose.render.template import formatted
from runtime.errors import SkiffError

Format = Annotated[str, typer.Option("--format", help="table, json or a template: '{{.Name}}'")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="IDs or names alone")]
STATES = ("paused", "restarting", "removing", "running", "dead", "created", "exited")
PS_COLUMNS = (
    ("NAME", "Name"),
    ("IMAGE", "Image"),
    ("COMMAND", "Command"),
    ("SERVICE", "Service"),
    ("CREATED", "RunningFor"),
    ("STATUS", "Status"),
    ("PORTS", "Ports"),
)
SHOWN_COMMAND = 20


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command()
    def ps(
        ctx: typer.Context,
        services: Services = None,
        all: Annotated[bool, typer.Option("--all", "-a", help="Stopped ones and one-offs too")] = False,
        format: Format = "",
        quiet: Quiet = False,
        show_services: Annotated[bool, typer.Option("--services", help="Names of services alone")] = False,
        status: Annotated[list[str] | None, typer.Option("--status", help="Only those in this state")] = None,
        filter: Annotated[list[str] | None, typer.Option("--filter", help="status=STATE")] = None,
        no_trunc: Annotated[bool, typer.Option("--no-trunc", help="Show whole commands")] = False,
        orphans: Annotated[
            bool, typer.Option("--orphans/--no-orphans", help="Containers of gone services, too")
        ] = True,
    ) -> None:
        """List containers."""
        common: Globals = ctx.obj
        states = [*(status or ()), *(_state(one) for one in filter or ())]
        target, has_files = common.load_or_name(services or ())
        everything = all or bool(states)
        found = common.containers(target, services or (), all=everything, oneoff=all)
        if has_files and not orphans and not services:
            found = [container for container in found if container.service in target.services]
        if states:
            found = [container for container in found if container.state in states]
        found.sort(key=lambda container: container.name)
        if quiet:
            for container in found:
                print(container.id)
        elif show_services:
            for name in dict.fromkeys(container.service for container in found):
                print(name)
        else:
            is_json = format == "json"
            rows = [_row(target.name, container, whole=no_trunc, is_json=is_json) for container in found]
            _show(formatted(format, rows, PS_COLUMNS))

    @app.command("ls")
    def ls_(
        ctx: typer.Context,
        all: Annotated[bool, typer.Option("--all", "-a", help="Stopped projects too")] = False,
        format: Format = "",
        quiet: Quiet = False,
        filter: Annotated[list[str] | None, typer.Option("--filter", help="name=PATTERN")] = None,
    ) -> None:
        """List projects."""
        common: Globals = ctx.obj
        _check_format(format)
        patterns = [_pattern(one) for one in filter or ()]
        rows = project_rows(common.client.containers(all=all, filters={"label": [PROJECT]}))
        found = []
        for name, containers in sorted(rows.items()):
            states: dict[str, int] = {}
            for row in containers:
                states[row["State"]] = states.get(row["State"], 0) + 1
            if not _matches(name, patterns):
                continue
            files = ",".join(
                dict.fromkeys(filter_empty((row.get("Labels") or {}).get(CONFIG_FILES, "") for row in containers))
            )
            shown = ", ".join(f"{state}({count})" for state, count in sorted(states.items()))
            found.append({"Name": name, "Status": shown, "ConfigFiles": files})
        if quiet:
            for project in found:
                print(project["Name"])
        else:
            columns = (("NAME", "Name"), ("STATUS", "Status"), ("CONFIG FILES", "ConfigFiles"))
            _show(formatted(format, found, columns, as_list=True))

    @app.command()
    def images(ctx: typer.Context, services: Services = None, format: Format = "", quiet: Quiet = False) -> None:
        """List the images of containers."""
        _check_format(format)
        common: Globals = ctx.obj
        target, _ = common.load_or_name(services or ())
        held: dict[str, dict[str, Any]] = {}
        rows = []
        for container in common.containers(target, services or ()):
            if container.image_id not in held:
                held[container.image_id] = common.client.image(container.image_id)
            rows.append(_image_row(container, held[container.image_id]))
        if quiet:
            for id in dict.fromkeys(row["ID"] for row in rows):
                print(id.removeprefix("sha256:"))
        else:
            if format != "json":
                rows = [
                    {**row, "ID": row["ID"].removeprefix("sha256:")[:12], "Size": size(row["Size"])} for row in rows
                ]
            columns = (
                ("CONTAINER", "ContainerName"),
                ("REPOSITORY", "Repository"),
                ("TAG", "Tag"),
                ("PLATFORM", "Platform"),
                ("IMAGE ID", "ID"),
                ("SIZE", "Size"),
                ("CREATED", "Ago"),
            )
            if format == "json":
                rows = [{key: value for key, value in row.items() if key != "Ago"} for row in rows]
            _show(formatted(format, rows, columns, as_list=True))

    @app.command()
    def volumes(ctx: typer.Context, services: Services = None, format: Format = "", quiet: Quiet = False) -> None:
        """List the volumes of the project, or those that services use."""
        common: Globals = ctx.obj
        target, _ = common.load_or_name(services or ())
        mounted = {
            mount.get("Name")
            for container in common.containers(target, services or ())
            for mount in container.document.get("Mounts") or ()
        }
        rows = [
            {
                "Name": volume["Name"],
                "Driver": volume["Driver"],
                "Labels": ",".join(f"{key}={value}" for key, value in (volume.get("Labels") or {}).items()),
                "Mountpoint": volume.get("Mountpoint", ""),
                "Scope": volume.get("Scope", "local"),
            }
            for volume in common.client.volumes({"label": [f"{PROJECT}={target.name}"]})
            if not services or volume["Name"] in mounted
        ]
        if quiet:
            for row in rows:
                print(row["Name"])
        else:
            _show(formatted(format, rows, (("DRIVER", "Driver"), ("VOLUME NAME", "Name"))))


def _show(text: str) -> None:
    if text:
        print(text)


def filter_empty(values: Any) -> list[str]:
    """Return `values` without empty ones."""
    return [value for value in values if value]


def _state(text: str) -> str:
    key, equals, value = text.partition("=")
    if not equals:
        raise SkiffError("arguments to --filter should be in form KEY=VAL", "write --filter status=running")
    if key != "status":
        raise SkiffError(f"unknown filter {key}", "containers are filtered by status=STATE")
    return value


def _check_format(format: str) -> None:
    """Raise SkiffError for a word that is no format: the reference takes table and json alone here."""
    if format and "{{" not in format and format not in ("table", "json"):
        raise SkiffError(f'format value "{format}" could not be parsed', "write table, json or a template: '{{.Name}}'")


def _pattern(text: str) -> str:
    key, _, value = text.partition("=")
    if key != "name":
        raise SkiffError(f'invalid filter "{text}"', "projects are filtered by name=PATTERN")
    return value


def _matches(name: str, patterns: Sequence[str]) -> bool:
    try:
        return not patterns or any(re.search(pattern, name) for pattern in patterns)
    except re.error as error:
        raise SkiffError(f"--filter: {error}", "name= takes a regular expression") from None


def _row(project: str, container: ObservedContainer, *, whole: bool, is_json: bool) -> dict[str, Any]:
    row = container.document
    status = str(row.get("Status") or "")
    health = next((h for h in ("starting", "unhealthy", "healthy") if f"({h})" in status or f": {h})" in status), "")
    exit_code = status.partition("(")[2].partition(")")[0] if container.state == "exited" else "0"
    command = str(row.get("Command", ""))
    shown = command if whole or len(command) <= SHOWN_COMMAND else command[: SHOWN_COMMAND - 1] + "…"
    mounts = row.get("Mounts") or ()
    listed = row.get("Ports") or ()
    return {
        "Command": f'"{shown}"',
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(row["Created"])),
        "ExitCode": int(exit_code) if exit_code.isdigit() else 0,
        "Health": health,
        "ID": container.id if whole or is_json else container.id[:12],
        "Image": row.get("Image", ""),
        "Labels": ",".join(f"{key}={value}" for key, value in container.labels.items()),
        "LocalVolumes": str(sum(mount.get("Driver") == "local" for mount in mounts)),
        "Mounts": ",".join(str(mount.get("Name") or mount.get("Source") or "") for mount in mounts),
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
        "Status": status,
    }


def _image_row(container: ObservedContainer, image: dict[str, Any]) -> dict[str, Any]:
    name = ((image.get("RepoTags") or [""])[0] or "<none>:<none>").rpartition(":")
    created = str(image.get("Created") or "")
    return {
        "ID": image["Id"],
        "ContainerName": container.name,
        "Repository": name[0],
        "Tag": name[2],
        "Platform": "/".join(filter_empty((image.get("Os"), image.get("Architecture"), image.get("Variant")))),
        "Size": image["Size"],
        "Created": created,
        "LastTagTime": (image.get("Metadata") or {}).get("LastTagTime") or created,
        "Ago": _since(created),
    }


def _since(moment: str) -> str:
    from datetime import datetime

    try:
        return ago(datetime.fromisoformat(moment[:19] + "+00:00").timestamp())
    except ValueError:
        return "N/A"
