"""`logs`: one container's output passed on in bulk, several merged by time."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from compose.cli.context import Globals
from compose.cli.reading import LogReading, engine_time_ns
from compose.plan.project import ObservedContainer
from compose.render.logs import LogPrinter
from compose.render.stamped import Lines, api_nanoseconds
from runtime.errors import EngineError

NOT_IMPLEMENTED = 501


def show(
    common: Globals,
    containers: Sequence[ObservedContainer],
    query: Mapping[str, Any],
    *,
    prefix: bool,
    colour: bool | None,
    joins: Callable[[Mapping[str, str]], bool],
) -> None:
    """Write the logs of `containers` as `query` (in the API's names) wants them.

    Those that are followed are joined by later ones whose labels `joins` likes.
    """
    names = [container.short_name() for container in containers]
    printer = LogPrinter(names, prefix=prefix, colour=colour, timestamps=bool(query.get("timestamps")))
    now_ns = engine_time_ns(common.client)
    until = query.get("until")
    if query.get("follow") and not (until and api_nanoseconds(until) <= now_ns):
        from compose.cli.following import Follower

        follower = Follower(common.where, printer, query, joins=joins)
        readings = follower.watch(containers, ending_with=containers)
        _merge(common, [reading.until(now_ns) for reading in readings], readings, printer)
        follower.show_all()
        follower.follow()
    elif len(containers) == 1:
        _pass_on(common, containers[0], query, printer, prefix=prefix)
    else:
        readings = [LogReading(common.where, container, query) for container in containers]
        _merge(common, [reading.whole() for reading in readings], readings, printer)


def _pass_on(
    common: Globals, container: ObservedContainer, query: Mapping[str, Any], printer: LogPrinter, *, prefix: bool
) -> None:
    try:
        with common.client.logs(container.id, **{**query, "follow": 0}) as stream:
            if prefix:
                for number, data in stream.frames():
                    printer.write(container.short_name(), number, data)
            else:
                out = sys.stdout.buffer
                for _, data in stream.frames():
                    out.write(data)
                out.flush()
    except EngineError as error:
        _tell_unreadable(common, container, error)
    printer.finish(container.short_name())


def _merge(
    common: Globals, logs: Sequence[Iterator[Lines]], readings: Sequence[LogReading], printer: LogPrinter
) -> None:
    """Write the whole lines of several containers in the order of their times."""
    names = [reading.container.short_name() for reading in readings]

    def numbered(number: int) -> Iterator[tuple[bytes, int, Lines]]:
        try:
            for lines in logs[number]:
                yield lines.stamp, number, lines
        except EngineError as error:
            _tell_unreadable(common, readings[number].container, error)

    for _, number, lines in heapq.merge(*(numbered(number) for number in range(len(logs)))):
        printer.write_lines(names[number], lines, flushes=False)
    printer.flush()


def _tell_unreadable(common: Globals, container: ObservedContainer, error: EngineError) -> None:
    """Say that a container's log can't be had, where that is its driver's way; the others' can. Raises EngineError."""
    if error.status != NOT_IMPLEMENTED:
        raise error
    common.warn(f'Can\'t retrieve logs for "{container.name}": {error}')
