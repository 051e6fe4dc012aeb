"""logs, top, port, events, wait, stats, version: what a stack does."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from compose.cli.context import Globals
from compose.cli.up import Services
from compose.plan.project import ONEOFF, PROJECT, SERVICE, ObservedContainer
from compose.render.table import table
from runtime.errors import SkiffError

Index = Annotated[int, typer.Option("--index", help="Number of the service's container")]
LABEL = "com.docker.compose."


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command()
    def logs(
        ctx: typer.Context,
        services: Services = None,
        follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes")] = False,
        tail: Annotated[str, typer.Option("--tail", "-n", help="Lines from the end of each container's log")] = "all",
        since: Annotated[str, typer.Option("--since", help="Time, or how long ago (10m)")] = "",
        until: Annotated[str, typer.Option("--until", help="Time, or how long ago")] = "",
        timestamps: Annotated[bool, typer.Option("--timestamps", "-t", help="Show times")] = False,
        no_color: Annotated[bool, typer.Option("--no-color", help="No colours")] = False,
        no_log_prefix: Annotated[bool, typer.Option("--no-log-prefix", help="No names before lines")] = False,
        index: Index = 0,
    ) -> None:
        """Show the output of containers, merged by time."""
        from compose.cli.logs import show

        common: Globals = ctx.obj
        if tail != "all" and not tail.lstrip("-").isdigit():
            raise SkiffError(f"--tail: {tail!r} is not a number of lines", "write a number, or all")
        target, _ = common.load_or_name(services or ())
        if index:
            if len(services or ()) != 1:
                raise SkiffError("--index is for the containers of one service", "name the service")
            found = [common.one_container(target, (services or [""])[0], index, running=False)]
        else:
            found = common.containers(target, services or ())
        query = {
            "follow": int(follow),
            "tail": "all" if tail.startswith("-") else tail,
            "timestamps": int(timestamps),
            "since": moment(since) if since else None,
            "until": moment(until) if until else None,
        }
        named = set(services or target.services)

        def joins(labels: Mapping[str, str]) -> bool:
            is_named = labels.get(SERVICE, "") in named or not named
            return is_named and not index and labels.get(ONEOFF, "False") != "True"

        show(common, found, query, prefix=not no_log_prefix, colour=False if no_color else None, joins=joins)

    @app.command()
    def top(ctx: typer.Context, services: Services = None) -> None:
        """Show the processes in containers."""
        common: Globals = ctx.obj
        target, _ = common.load_or_name(services or ())
        titles: list[str] = []
        rows = []
        for container in common.containers(target, services or (), all=False):
            found = common.client.top(container.id)
            titles = titles or list(found["Titles"])
            number = str(container.number)
            rows += [[container.service, number, *cells] for cells in found["Processes"]]
        if rows:
            print(table(["SERVICE", "#", *titles], rows))

    @app.command()
    def port(
        ctx: typer.Context,
        service: str,
        private_port: int,
        protocol: Annotated[str, typer.Option("--protocol", help="tcp or udp")] = "tcp",
        index: Index = 0,
    ) -> None:
        """Show the host port of a service's port."""
        common: Globals = ctx.obj
        target, _ = common.load_or_name([service])
        container = common.one_container(target, service, index)
        ports = common.client.container(container.id)["NetworkSettings"]["Ports"] or {}
        held = ports.get(f"{private_port}/{protocol.lower()}")
        if not held:
            others = ", ".join(f"{one['HostIp']}:{one['HostPort']}->{key}" for key in ports for one in ports[key] or ())
            raise SkiffError(
                f"no port {private_port}/{protocol} for container {container.name}", f"published: {others or 'none'}"
            )
        host = f"[{held[0]['HostIp']}]" if ":" in held[0]["HostIp"] else held[0]["HostIp"]
        print(f"{host}:{held[0]['HostPort']}")

    @app.command()
    def events(
        ctx: typer.Context,
        services: Services = None,
        as_json: Annotated[bool, typer.Option("--json", help="A document a line")] = False,
        since: Annotated[str, typer.Option("--since", help="Time, or how long ago (10m)")] = "",
        until: Annotated[str, typer.Option("--until", help="Time, or how long ago")] = "",
    ) -> None:
        """Show events of containers as they happen."""
        common: Globals = ctx.obj
        target, _ = common.load_or_name(services or ())
        query: dict[str, Any] = {"since": moment(since) if since else None, "until": moment(until) if until else None}
        wanted = {"label": [f"{PROJECT}={target.name}"], "type": ["container"]}
        with common.client.events(wanted, **query) as stream:
            for event in stream.documents():
                attributes = event["Actor"]["Attributes"]
                service = attributes.get(SERVICE, "")
                if attributes.get(ONEOFF) == "True" or (services and service not in services):
                    continue
                print(_event_line(event, service, as_json=as_json), flush=True)

    @app.command()
    def wait(
        ctx: typer.Context,
        services: Annotated[list[str], typer.Argument(help="Services to wait for")],
        down_project: Annotated[bool, typer.Option("--down-project", help="Take the project down then")] = False,
    ) -> int:
        """Wait until services stop; the last exit code is ours."""
        common: Globals = ctx.obj
        target, _ = common.load_or_name(services)
        found = [container for container in common.containers(target, services) if container.is_alive]
        if not found:
            raise SkiffError("no containers to wait for", f"start them: `skiff up -d {' '.join(services)}`")
        codes: list[int] = []

        def one(container: ObservedContainer) -> None:
            from runtime.client import Client

            codes.append(code := Client(common.where).wait(container.id))
            print(f'container "{container.name}" exited with status code {code}', flush=True)

        threads = [threading.Thread(target=one, args=(container,), daemon=True) for container in found]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
            if down_project and codes:
                break
        if down_project:
            from compose.cli.lifecycle import take_down

            take_down(common)
        return codes[-1] if codes else 1

    @app.command()
    def stats(
        ctx: typer.Context,
        service: Annotated[str, typer.Argument(help="Service; all when none is named")] = "",
        all: Annotated[bool, typer.Option("--all", "-a", help="Stopped containers too")] = False,
        format: Annotated[str, typer.Option("--format", help="table, json or a template")] = "",
        no_stream: Annotated[bool, typer.Option("--no-stream", help="Show them once")] = False,
        no_trunc: Annotated[bool, typer.Option("--no-trunc", help="Show whole IDs")] = False,
    ) -> None:
        """Show what containers use of the machine."""
        import sys

        from compose.render.template import formatted
        from compose.render.usage import COLUMNS, usage_row

        common: Globals = ctx.obj
        services = [service] if service else []
        target, _ = common.load_or_name(services)
        while True:
            found = common.containers(target, services, all=all)
            rows = [
                usage_row(container.id if no_trunc else container.id[:12], container.name, document)
                for container, document in _usage(common, found)
            ]
            if not no_stream and sys.stdout.isatty():
                sys.stdout.write("\x1b[H\x1b[2J")
            print(formatted(format, rows, COLUMNS), flush=True)
            if no_stream or not found:
                return

    @app.command()
    def version(
        ctx: typer.Context,
        short: Annotated[bool, typer.Option("--short", help="The number alone")] = False,
        format: Annotated[str, typer.Option("--format", "-f", help="pretty or json")] = "pretty",
    ) -> None:
        """Show the version."""
        if format not in ("pretty", "json", ""):
            raise SkiffError(f'--format: "{format}" is not known', "write pretty or json")
        if short:
            print(version_number())
        else:
            print(json.dumps({"version": version_number()}) if format == "json" else version_line())


def version_number() -> str:
    """Return the installed version."""
    from importlib.metadata import version as installed

    return installed("skiff")


def version_line() -> str:
    """Return what `version` prints."""
    return f"Skiff version {version_number()}"


def _usage(
    common: Globals, containers: list[ObservedContainer]
) -> Iterator[tuple[ObservedContainer, Mapping[str, Any]]]:
    """Yield what each container uses, all measured over the same second."""
    from runtime.client import Client

    documents: dict[str, Mapping[str, Any]] = {}

    def measure(container: ObservedContainer) -> None:
        documents[container.id] = Client(common.where).stats(container.id)

    threads = [threading.Thread(target=measure, args=(container,), daemon=True) for container in containers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for container in containers:
        if container.id in documents:
            yield container, documents[container.id]


def _event_line(event: Mapping[str, Any], service: str, *, as_json: bool) -> str:
    from datetime import datetime

    attributes = {key: one for key, one in event["Actor"]["Attributes"].items() if not key.startswith(LABEL)}
    whole_s, rest_ns = divmod(event["timeNano"], 10**9)
    moment_ = datetime.fromtimestamp(whole_s).strftime("%Y-%m-%d %H:%M:%S")
    if as_json:
        return json.dumps(
            {
                "action": event["Action"],
                "attributes": attributes,
                "id": event["Actor"]["ID"],
                "service": service,
                "time": f"{moment_.replace(' ', 'T')}.{rest_ns:09d}",
                "type": event["Type"],
            }
        )
    told = ", ".join(f"{key}={value}" for key, value in attributes.items())
    return f"{moment_}.{rest_ns // 1000:06d} {event['Type']} {event['Action']} {event['Actor']['ID']} ({told})"


def moment(text: str) -> str:
    """Return a time for the API: what is a duration ("10m") counts back from now."""
    from compose.plan.values import UNITS_NS, duration_ns

    if re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{1,9})?", text):
        return text
    if text[-1:] in ("s", "m", "h") and set(text) <= set("0123456789.hmsunµ") and UNITS_NS:
        return f"{time.time() - duration_ns(text) / 1e9:.9f}"
    from datetime import datetime

    whole, point, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))] if point else ""
    try:
        # what is finer than a microsecond is kept as it is written: a log line's own time finds the line
        seconds = datetime.fromisoformat(whole + rest[len(digits) :]).timestamp()
        return f"{int(seconds)}.{digits or 0}"
    except ValueError:
        raise SkiffError(
            f"{text!r} is neither a time nor a duration", "write 10m, 1h30m, or 2030-01-31T12:00:00"
        ) from None
