"""`logs`: one container's output passed on in bulk, that of several merged by time."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compose.logs.reading import LogReading, engine_time_ns
from compose.logs.runs import ContainerTimes, run_of
from compose.logs.sink import LogSink
from compose.logs.stamped import SECOND_NS, Lines, api_nanoseconds, moment, nanoseconds
from compose.plan.project import ONEOFF, SERVICE, DesiredProject, ObservedContainer
from runtime.errors import EngineError, SkiffError

if TYPE_CHECKING:
    from compose.stack.context import Context

NOT_IMPLEMENTED = 501
LAST_UP, LAST_RESTART = "last-up", "last-restart"
TOGETHER_NS = 30 * SECOND_NS
"""How far apart `up` creates the containers of one stack, at most."""


@dataclass(frozen=True)
class LogsRequest:
    """Whose logs to read (`services`, none named: all; with `index` one container of one service), and which part.

    `tail` is a number of lines from the end of each log, or "all". `since` and `until` are times as the Docker Engine
    API writes them, "" for no bound. With `follow`, what containers print from now on as well. `timestamps` says that
    the sink shows times. `since_run` bounds each log by a run instead of a time: LAST_RESTART or LAST_UP. `streams` are
    those of containers (1: output, 2: errors). With `is_exact` lines are read with their times, also of one container;
    with `marks` it is said between them where a run ended and the next began.
    """

    services: Sequence[str] = ()
    index: int = 0
    follow: bool = False
    tail: str = "all"
    since: str = ""
    until: str = ""
    timestamps: bool = False
    since_run: str = ""
    streams: Collection[int] = (1, 2)
    is_exact: bool = False
    marks: bool = False

    def query(self) -> dict[str, Any]:
        """Return the parameters of "Get container logs" (Docker Engine API)."""
        return {
            "follow": int(self.follow),
            "tail": self.tail,
            "timestamps": int(self.timestamps),
            "since": self.since or None,
            "until": self.until or None,
            **({"stdout": 0} if 1 not in self.streams else {}),
            **({"stderr": 0} if 2 not in self.streams else {}),
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
    runs = {}
    if request.since_run or request.marks:
        runs = {container.id: run_of(context.client, container) for container in containers}
    since = _since(request, runs)
    now_ns = engine_time_ns(context.client)
    until = query.get("until")
    if request.follow and not (until and api_nanoseconds(until) <= now_ns):
        from compose.logs.following import Follower

        follower = Follower(context.where, sink, query, joins=joins, since=since)
        readings = follower.watch(containers, ending_with=containers)
        _merge(context, [reading.until(now_ns) for reading in readings], readings, sink, runs if request.marks else {})
        follower.show_all()
        follower.follow()
    elif len(containers) == 1 and not request.is_exact and not request.marks:
        _pass_on(context, containers[0], {**query, **since.get(containers[0].id, {})}, sink)
    else:
        readings = [
            LogReading(context.where, container, {**query, **since.get(container.id, {})}) for container in containers
        ]
        _merge(context, [reading.whole() for reading in readings], readings, sink, runs if request.marks else {})
        if request.marks:
            for container in containers:
                if text := runs[container.id].end():
                    sink.mark(container.short_name(), text)


def _since(request: LogsRequest, runs: Mapping[str, ContainerTimes]) -> dict[str, dict[str, str]]:
    """Return the parameters that bound each container's log by its run."""
    if request.since_run == LAST_RESTART:
        return {id: {"since": moment(run.started_ns)} for id, run in runs.items()}
    if request.since_run == LAST_UP and runs:
        newest_ns = max(run.created_ns for run in runs.values())
        # those of one `up` are created together
        together = [run.created_ns for run in runs.values() if newest_ns - run.created_ns <= TOGETHER_NS]
        return {id: {"since": moment(min(together))} for id in runs}
    return {}


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


def _merge(
    context: Context,
    logs: Sequence[Iterator[Lines]],
    readings: Sequence[LogReading],
    sink: LogSink,
    runs: Mapping[str, ContainerTimes],
) -> None:
    """Pass on the whole lines of several containers in the order of their times; the last run of `runs` is marked."""
    names = [reading.container.short_name() for reading in readings]
    starts = {
        number: runs[reading.container.id].started_ns
        for number, reading in enumerate(readings)
        if reading.container.id in runs
    }
    earlier: set[int] = set()
    """Logs of which lines of an earlier run were shown."""

    def numbered(number: int) -> Iterator[tuple[bytes, int, Lines]]:
        try:
            for lines in logs[number]:
                yield lines.stamp, number, lines
        except EngineError as error:
            _warn_unreadable(context, readings[number].container, error)

    for _, number, lines in heapq.merge(*(numbered(number) for number in range(len(logs)))):
        if number in starts:
            if nanoseconds(lines.stamp) < starts[number]:
                earlier.add(number)
            else:
                del starts[number]
                if number in earlier:
                    sink.mark(names[number], "has been restarted")
        sink.write_lines(names[number], lines, flushes=False)
    sink.flush()


def _warn_unreadable(context: Context, container: ObservedContainer, error: EngineError) -> None:
    """Warn of a log that its driver keeps to itself; the others' can be read. Raises EngineError for another failure."""
    if error.status != NOT_IMPLEMENTED:
        raise error
    context.warn(f'Can\'t retrieve logs for "{container.name}": {error}')
