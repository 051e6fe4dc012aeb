"""`logs`: one container's output passed on in bulk, that of several merged by time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compose.logs.reading import LogReading, engine_time_ns
from compose.logs.sink import LogSink
from compose.logs.stamped import Lines, api_nanoseconds
from compose.plan.project import ONEOFF, SERVICE, DesiredProject, ObservedContainer
from runtime.errors import EngineError, SkiffError

if TYPE_CHECKING:
    from compose.stack.context import Context

NOT_IMPLEMENTED = 501


@dataclass(frozen=True)
class LogsRequest:
    """Whose logs to read (`services`, none named: all; with `index` one container of one service), and which part.

    `tail` is a number of lines from the end of each log, or "all". `since` and `until` are times as the Docker Engine
    API writes them, "" for no bound. With `follow`, what containers print from now on as well. `timestamps` says that
    the sink shows times.
    """

    services: Sequence[str] = ()
    index: int = 0
    follow: bool = False
    tail: str = "all"
    since: str = ""
    until: str = ""
    timestamps: bool = False

    def query(self) -> dict[str, Any]:
        """Return the parameters of "Get container logs" (Docker Engine API)."""
        return {
            "follow": int(self.follow),
            "tail": self.tail,
            "timestamps": int(self.timestamps),
            "since": self.since or None,
            "until": self.until or None,
        }


def logs(context: Context, project: DesiredProject, request: LogsRequest, sink: LogSink) -> None:
    """Pass logs to `sink`; followed ones are joined by containers that are created later. Raises SkiffError."""
    containers = _containers(context, project, request)
    named = set(request.services or project.services)

    def joins(labels: Mapping[str, str]) -> bool:
        is_named = labels.get(SERVICE, "") in named or not named
        return is_named and not request.index and labels.get(ONEOFF, "False") != "True"

    sink.open([container.short_name() for container in containers])
    query = request.query()
    now_ns = engine_time_ns(context.client)
    until = query.get("until")
    if request.follow and not (until and api_nanoseconds(until) <= now_ns):
        from compose.logs.following import Follower

        follower = Follower(context.where, sink, query, joins=joins)
        readings = follower.watch(containers, ending_with=containers)
        _merge(context, [reading.until(now_ns) for reading in readings], readings, sink)
        follower.show_all()
        follower.follow()
    elif len(containers) == 1:
        _pass_on(context, containers[0], query, sink)
    else:
        readings = [LogReading(context.where, container, query) for container in containers]
        _merge(context, [reading.whole() for reading in readings], readings, sink)


def _containers(context: Context, project: DesiredProject, request: LogsRequest) -> list[ObservedContainer]:
    if not request.index:
        return context.own_containers(project, request.services)
    if len(request.services) != 1:
        raise SkiffError("--index is for the containers of one service", "name the service")
    return [context.one_container(project, request.services[0], request.index, running=False)]


def _pass_on(context: Context, container: ObservedContainer, query: Mapping[str, Any], sink: LogSink) -> None:
    try:
        with context.client.logs(container.id, **{**query, "follow": 0}) as stream:
            sink.write_frames(container.short_name(), stream.frames())
    except EngineError as error:
        _warn_unreadable(context, container, error)


def _merge(context: Context, logs: Sequence[Iterator[Lines]], readings: Sequence[LogReading], sink: LogSink) -> None:
    """Pass on the whole lines of several containers in the order of their times."""
    names = [reading.container.short_name() for reading in readings]

    def numbered(number: int) -> Iterator[tuple[bytes, int, Lines]]:
        try:
            for lines in logs[number]:
                yield lines.stamp, number, lines
        except EngineError as error:
            _warn_unreadable(context, readings[number].container, error)

    for _, number, lines in heapq.merge(*(numbered(number) for number in range(len(logs)))):
        sink.write_lines(names[number], lines, flushes=False)
    sink.flush()


def _warn_unreadable(context: Context, container: ObservedContainer, error: EngineError) -> None:
    """Warn of a log that its driver keeps to itself; the others' can be read. Raises EngineError for another failure."""
    if error.status != NOT_IMPLEMENTED:
        raise error
    context.warn(f'Can\'t retrieve logs for "{container.name}": {error}')
