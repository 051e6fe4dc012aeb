"""`events`: shows events of containers as they happen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from compose.cli.context import Globals
from compose.cli.options import Services, Since, Until
from compose.go_json import go_json

LABEL = "com.docker.compose."


def events(
    ctx: typer.Context,
    services: Services = None,
    as_json: Annotated[bool, typer.Option("--json", help="A document a line")] = False,
    since: Since = "",
    until: Until = "",
) -> None:
    """Show events of containers as they happen."""
    from compose.cli.times import api_time
    from compose.stack.inspection import events as events_of

    common: Globals = ctx.obj
    project, _ = common.load_or_name(services)
    context = common.context()
    for event in events_of(context, project, services or (), since=api_time(since), until=api_time(until)):
        print(_line(event.document, event.service, as_json=as_json), flush=True)


def _line(event: Mapping[str, Any], service: str, *, as_json: bool) -> str:
    from datetime import datetime

    attributes = {key: one for key, one in event["Actor"]["Attributes"].items() if not key.startswith(LABEL)}
    whole_s, rest_ns = divmod(event["timeNano"], 10**9)
    moment_ = datetime.fromtimestamp(whole_s).strftime("%Y-%m-%d %H:%M:%S")
    if as_json:
        return go_json(
            {
                "action": event["Action"],
                "attributes": attributes,
                "id": event["Actor"]["ID"],
                "service": service,
                "time": f"{moment_.replace(' ', 'T')}.{rest_ns:09d}",
                "type": event["Type"],
            }
        )
    shown = ", ".join(f"{key}={value}" for key, value in attributes.items())
    return f"{moment_}.{rest_ns // 1000:06d} {event['Type']} {event['Action']} {event['Actor']['ID']} ({shown})"
