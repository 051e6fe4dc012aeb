"""`logs`: one container's output passed on in bulk, several merged by time."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compose.cli.context import Globals
from compose.plan.project import Existing
from compose.render.logs import LogPrinter
from runtime.client import Client


def show(
    common: Globals, containers: Sequence[Existing], query: Mapping[str, Any], *, prefix: bool, colour: bool | None
) -> None:
    """Write the logs of `containers` as `query` (in the API's names) wants them."""
    printer = LogPrinter([container.short_name() for container in containers], prefix=prefix, colour=colour)
    if query.get("follow") and query.get("until") is None:
        from compose.cli.following import Follower

        follower = Follower(common.where, printer, query, tell_exits=False)
        follower.watch(containers, ending_with=containers)
        follower.show_all()
        follower.follow()
    elif len(containers) == 1:
        container = containers[0]
        with common.client.logs(container.id, **query) as stream:
            if prefix:
                for number, data in stream.frames():
                    printer.write(container.short_name(), number, data)
            else:
                out = sys.stdout.buffer
                for _, data in stream.frames():
                    out.write(data)
                out.flush()
        printer.finish(container.short_name())
    else:
        _merge(common, containers, {**query, "follow": 0}, printer)


def _merge(common: Globals, containers: Sequence[Existing], query: Mapping[str, Any], printer: LogPrinter) -> None:
    """Write whole lines of several containers in the order of their times."""
    wants_times = bool(query.get("timestamps"))
    runs = [_stamped(Client(common.where), container, query) for container in containers]
    for stamp, name, line in heapq.merge(*runs, key=lambda item: item[0]):
        printer.write(name, 1, (stamp + b" " + line if wants_times else line))


def _stamped(client: Client, container: Existing, query: Mapping[str, Any]) -> Iterator[tuple[bytes, str, bytes]]:
    """Yield (time, container's name, line) of one container."""
    name = container.short_name()
    open_line: dict[int, bytes] = {}
    with client.logs(container.id, **{**query, "timestamps": 1}) as stream:
        for number, data in stream.frames():
            *complete, rest = (open_line.pop(number, b"") + data).split(b"\n")
            if rest:
                open_line[number] = rest
            for line in complete:
                stamp, _, text = line.partition(b" ")
                yield stamp, name, text + b"\n"
    for line in open_line.values():
        stamp, _, text = line.partition(b" ")
        yield stamp, name, text + b"\n"
