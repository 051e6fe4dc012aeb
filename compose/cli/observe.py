"""ps, logs, ls, images, top, port, events, wait, stats, version: what a stack does."""

from __future__ import annotations

import json
import threading
import time
from typing import Annotated, Any

import typer

from compose.cli.context import CONFIG_FILES, Globals, project_rows
from compose.plan.project import PROJECT, Existing
from compose.render.table import ago, ports, size, table
from runtime.errors import SkiffError

Services = Annotated[list[str] | None, typer.Argument(help="Services; all when none is named")]
Format = Annotated[str, typer.Option("--format", help="table or json")]


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command()
    def ps(
        ctx: typer.Context,
        services: Services = None,
        all: Annotated[bool, typer.Option("--all", "-a", help="Stopped ones too")] = False,
        format: Format = "table",
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="IDs alone")] = False,
        show_services: Annotated[bool, typer.Option("--services", help="Names of services alone")] = False,
        status: Annotated[list[str] | None, typer.Option("--status", help="Only those in this state")] = None,
        no_trunc: Annotated[bool, typer.Option("--no-trunc")] = False,
        orphans: Annotated[bool, typer.Option("--orphans/--no-orphans")] = True,
    ) -> None:
        """List containers."""
        common: Globals = ctx.obj
        target, _ = common.load_or_name()
        found = common.containers(target, services or (), all=all or bool(status), oneoff=all)
        if status:
            found = [container for container in found if container.state in status]
        if show_services:
            for name in dict.fromkeys(container.service for container in found):
                print(name)
        elif quiet:
            for container in found:
                print(container.id)
        elif format == "json":
            for container in found:
                print(json.dumps(_row(target.name, container)))
        else:
            titles = ("NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS")
            print(table(titles, [_cells(container, no_trunc) for container in found]))

    @app.command()
    def logs(
        ctx: typer.Context,
        services: Services = None,
        follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes")] = False,
        tail: Annotated[str, typer.Option("--tail", "-n", help="Lines from the end of each container's log")] = "all",
        since: Annotated[str, typer.Option("--since", help="Time, or how long ago (10m)")] = "",
        until: Annotated[str, typer.Option("--until", help="Time, or how long ago")] = "",
        timestamps: Annotated[bool, typer.Option("--timestamps", "-t")] = False,
        no_color: Annotated[bool, typer.Option("--no-color")] = False,
        no_log_prefix: Annotated[bool, typer.Option("--no-log-prefix")] = False,
        index: Annotated[int, typer.Option("--index", help="Number of the service's container")] = 0,
    ) -> None:
        """Show the output of containers, merged by time."""
        from compose.cli.logs import show

        common: Globals = ctx.obj
        target, _ = common.load_or_name()
        found = [c for c in common.containers(target, services or ()) if not index or c.number == index]
        query = {
            "follow": int(follow),
            "tail": tail,
            "timestamps": int(timestamps),
            "since": moment(since) if since else None,
            "until": moment(until) if until else None,
        }
        show(common, found, query, prefix=not no_log_prefix, colour=False if no_color else None)

    @app.command("ls")
    def ls_(
        ctx: typer.Context,
        all: Annotated[bool, typer.Option("--all", "-a", help="Stopped projects too")] = False,
        format: Format = "table",
        quiet: Annotated[bool, typer.Option("--quiet", "-q")] = False,
    ) -> None:
        """List projects."""
        common: Globals = ctx.obj
        rows = project_rows(common.client.containers(all=True, filters={"label": [PROJECT]}))
        found = []
        for name, containers in sorted(rows.items()):
            states: dict[str, int] = {}
            for row in containers:
                states[row["State"]] = states.get(row["State"], 0) + 1
            if not all and "running" not in states:
                continue
            files = (containers[0].get("Labels") or {}).get(CONFIG_FILES, "")
            shown = ", ".join(f"{state}({count})" for state, count in sorted(states.items()))
            found.append({"Name": name, "Status": shown, "ConfigFiles": files})
        if quiet:
            print("\n".join(project["Name"] for project in found))
        elif format == "json":
            print(json.dumps(found))
        else:
            print(table(("NAME", "STATUS", "CONFIG FILES"), [tuple(project.values()) for project in found]))

    @app.command()
    def images(ctx: typer.Context, services: Services = None, format: Format = "table", quiet: bool = False) -> None:
        """List the images of containers."""
        common: Globals = ctx.obj
        target, _ = common.load_or_name()
        rows = []
        for container in common.containers(target, services or ()):
            image = common.client.image(container.image_id)
            repository, _, tag = ((image.get("RepoTags") or [""])[0] or "<none>:<none>").rpartition(":")
            rows.append(
                (container.name, repository, tag, image["Id"].removeprefix("sha256:")[:12], size(image["Size"]))
            )
        if format == "json":
            keys = ("ContainerName", "Repository", "Tag", "ID", "Size")
            print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]))
        else:
            print(table(("CONTAINER", "REPOSITORY", "TAG", "IMAGE ID", "SIZE"), rows))

    @app.command()
    def top(ctx: typer.Context, services: Services = None) -> None:
        """Show the processes in containers."""
        common: Globals = ctx.obj
        target, _ = common.load_or_name()
        for container in common.containers(target, services or (), all=False):
            found = common.client.top(container.id)
            print(container.name)
            print(table(found["Titles"], found["Processes"]))
            print()

    @app.command()
    def port(
        ctx: typer.Context,
        service: str,
        private_port: int,
        protocol: Annotated[str, typer.Option("--protocol")] = "tcp",
        index: Annotated[int, typer.Option("--index")] = 0,
    ) -> None:
        """Show the host port of a service's port."""
        common: Globals = ctx.obj
        target, _ = common.load_or_name()
        container = common.one_container(target, service, index)
        held = common.client.container(container.id)["NetworkSettings"]["Ports"].get(f"{private_port}/{protocol}")
        if not held:
            raise SkiffError(f"no port {private_port}/{protocol} for container {container.name}")
        print(f"{held[0]['HostIp']}:{held[0]['HostPort']}")

    @app.command()
    def events(
        ctx: typer.Context,
        services: Services = None,
        as_json: Annotated[bool, typer.Option("--json")] = False,
        since: Annotated[str, typer.Option("--since")] = "",
        until: Annotated[str, typer.Option("--until")] = "",
    ) -> None:
        """Show events as they happen."""
        common: Globals = ctx.obj
        target, _ = common.load_or_name()
        query: dict[str, Any] = {"since": moment(since) if since else None, "until": moment(until) if until else None}
        with common.client.events({"label": [f"{PROJECT}={target.name}"]}, **query) as stream:
            for event in stream.documents():
                attributes = event["Actor"]["Attributes"]
                service = attributes.get("com.docker.compose.service", "")
                if services and service not in services:
                    continue
                if as_json:
                    print(json.dumps({"time": event["timeNano"], "service": service, **event}), flush=True)
                else:
                    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["time"]))
                    print(f"{stamp} {event['Type']} {event['Action']} {attributes.get('name', '')}", flush=True)

    @app.command()
    def wait(ctx: typer.Context, services: Annotated[list[str], typer.Argument(help="Services to wait for")]) -> int:
        """Wait until a service stops; its exit code is ours."""
        common: Globals = ctx.obj
        target, _ = common.load_or_name()
        found = common.containers(target, services)
        codes: list[int] = []

        def one(container: Existing) -> None:
            from runtime.client import Client

            codes.append(Client(common.where).wait(container.id))

        threads = [threading.Thread(target=one, args=(container,)) for container in found]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for code in codes:
            print(code)
        return codes[0] if codes else 0

    @app.command()
    def version(
        ctx: typer.Context,
        short: Annotated[bool, typer.Option("--short")] = False,
        format: Annotated[str, typer.Option("--format", "-f")] = "pretty",
    ) -> None:
        """Show the version."""
        from importlib.metadata import version as installed

        number = installed("skiff")
        if format == "json":
            print(json.dumps({"version": number}))
        else:
            print(number if short else f"Skiff version {number}")


def moment(text: str) -> str:
    """Return a time for the API: what is a duration ("10m") counts back from now."""
    from compose.plan.values import UNITS_NS, duration_ns

    if text.lstrip("-").replace(".", "", 1).isdigit():
        return text
    if text[-1:] in ("s", "m", "h") and set(text) <= set("0123456789.hmsunµ") and UNITS_NS:
        return f"{time.time() - duration_ns(text) / 1e9:.9f}"
    from datetime import datetime

    try:
        return f"{datetime.fromisoformat(text).timestamp():.9f}"
    except ValueError:
        raise SkiffError(
            f"{text!r} is neither a time nor a duration", "write 10m, 1h30m, or 2030-01-31T12:00:00"
        ) from None


def _row(project: str, container: Existing) -> dict[str, Any]:
    row = container.document
    status = str(row.get("Status") or "")
    health = next((h for h in ("starting", "unhealthy", "healthy") if f"({h})" in status or f": {h})" in status), "")
    exit_code = status.partition("(")[2].partition(")")[0] if container.state == "exited" else "0"
    return {
        "Command": f'"{row.get("Command", "")}"',
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(row["Created"])),
        "ExitCode": int(exit_code) if exit_code.isdigit() else 0,
        "Health": health,
        "ID": container.id,
        "Image": row.get("Image", ""),
        "Labels": ",".join(f"{key}={value}" for key, value in container.labels.items()),
        "Name": container.name,
        "Names": container.name,
        "Networks": ",".join((row.get("NetworkSettings") or {}).get("Networks") or {}),
        "Ports": ports(row.get("Ports") or []),
        "Project": project,
        "Publishers": [
            {
                "URL": port.get("IP", ""),
                "TargetPort": port["PrivatePort"],
                "PublishedPort": port.get("PublicPort", 0),
                "Protocol": port["Type"],
            }
            for port in row.get("Ports") or ()
        ],
        "RunningFor": ago(row["Created"]),
        "Service": container.service,
        "State": container.state,
        "Status": status,
    }


def _cells(container: Existing, whole: bool) -> tuple[str, ...]:
    row = container.document
    command = str(row.get("Command", ""))
    shown = command if whole or len(command) <= 20 else command[:19] + "…"
    return (
        container.name,
        str(row.get("Image", "")),
        f'"{shown}"',
        container.service,
        ago(row["Created"]),
        str(row.get("Status", "")),
        ports(row.get("Ports") or []),
    )
