"""One container's log, read so that each line comes exactly once, even if the engine is restarted while it is read.

The engine selects lines by the time at which they began ("Get container logs": since, until). So a time is a position in
the log: what was there at a moment can be read first, and separately what came after it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from compose.logs.stamped import Lines, StampedLines, api_nanoseconds, moment, nanoseconds
from compose.plan.project import ObservedContainer
from runtime.client import Client, EngineAddress
from runtime.errors import EngineError, NotFoundError, SkiffError

PAUSE_S = 0.02
"""Pause before reconnecting to an engine that closed the connection."""
MOST_FAILURES = 5
"""How many requests in a row may fail; connecting starts our own engine."""


class LogReading:
    """Reads the log of `container`. `query` has settings of "Get container logs": since, until, tail."""

    def __init__(self, where: EngineAddress, container: ObservedContainer, query: Mapping[str, Any]) -> None:
        self.container = container
        self._where = where
        self._query = {
            key: value
            for key, value in query.items()
            if (key in ("since", "until", "tail") and value) or (key in ("stdout", "stderr") and value is not None)
        }
        self._taken: dict[int, tuple[bytes, int]] = {}
        """By stream, the time of the last line that was yielded, and how many lines of that time were."""
        self._floor_ns = 0
        """From this time on all lines are yielded; of earlier ones `tail` may have asked for the last few."""
        self._unended: list[Lines] = []
        """Incomplete lines at the point where reading broke off; they were not yielded."""

    def whole(self) -> Iterator[Lines]:
        """Yield everything that is there, an incomplete last line included. Raises SkiffError."""
        yield from self._lines(dict(self._query))
        yield from self._unended

    def until(self, time_ns: int) -> Iterator[Lines]:
        """Yield what was logged by `time_ns`; an incomplete line is left for `live`. Raises SkiffError."""
        query, end = dict(self._query), moment(time_ns)
        yield from self._lines({**query, "until": end})
        self._floor_ns = max(time_ns + 1, api_nanoseconds(query.get("since", "0")))
        self._query |= {"since": moment(self._floor_ns), "tail": "all"}
        if self._unended:
            self._query["since"] = moment(min(nanoseconds(lines.stamp) for lines in self._unended))
            if query.get("tail", "all") != "all":
                self._count({"since": self._query["since"], "until": end})

    def live(self, *, attached: bool = False) -> Iterator[Lines]:
        """Yield new lines, from where reading broke off, until the container stops or is gone. Raises SkiffError.

        With `attached`, which only our engine knows, of a stopped container from its next start on, without a gap.
        """
        query = {**self._query, "follow": 1, "attached": int(attached)}
        try:
            yield from self._lines(query)
            is_over = self._has_ended()
        except NotFoundError:
            is_over = True
        self._go_on()
        if is_over or "until" in self._query:
            for lines in self._unended:  # they stay incomplete
                self._take(lines)
                yield lines
            self._unended = []

    def _has_ended(self) -> bool:
        """Whether the container stopped, so that incomplete lines stay so. Raises NotFoundError."""
        try:
            state = Client(self._where).container(self.container.id)["State"]
        except EngineError:
            raise
        except SkiffError:  # the engine just exited: reading continues once it is back
            return False
        return not state["Running"] or bool(state.get("Restarting"))

    def _lines(self, query: dict[str, Any]) -> Iterator[Lines]:
        """Yield the lines of `query` that were not yielded before; continues when the engine comes back."""
        failures = 0
        while True:
            try:
                for lines in self._answer(query):
                    failures = 0
                    yield lines
                return
            except EngineError:
                raise
            except (OSError, SkiffError) as error:
                failures += 1
                if failures > MOST_FAILURES:
                    raise SkiffError(f"the logs of {self.container.name} can't be read: {error}") from error
                time.sleep(PAUSE_S)
            if query.get("follow"):
                self._go_on()
                query |= {**self._query, "attached": 0}  # the start that `attached` waits for may have happened

    def _answer(self, query: Mapping[str, object]) -> Iterator[Lines]:
        decoder, given = StampedLines(), dict(self._taken)
        with Client(self._where).logs(self.container.id, **query, timestamps=1) as stream:
            try:
                for number, data in stream.frames():
                    for lines in decoder.feed(number, data):
                        if (new := _without(lines, given)) is not None:
                            self._take(new)
                            yield new
            finally:
                self._unended = decoder.rest()
            if not stream.is_whole:
                raise ConnectionResetError("the engine closed the connection")

    def _take(self, lines: Lines) -> None:
        stamp, count = self._taken.get(lines.stream, (b"", 0))
        more = lines.text.count(b"\n")
        self._taken[lines.stream] = (lines.stamp, more + count if lines.stamp == stamp else more)

    def _go_on(self) -> None:
        """Let the next request begin at the first incomplete line, or at the last line that was yielded."""
        unended = [nanoseconds(lines.stamp) for lines in self._unended]
        given = [nanoseconds(stamp) for stamp, _ in self._taken.values()]
        if unended or given:
            self._query["since"] = moment(min(unended) if unended else max(self._floor_ns, *given))

    def _count(self, query: dict[str, Any]) -> None:
        """Count all lines of `query` as yielded: lines read with `tail` do not say how many of the same time came before."""
        self._taken = {}
        for _ in self._lines(query):
            pass


def engine_time_ns(client: Client) -> int:
    """Return the engine's time, in nanoseconds since 1970."""
    if client.endpoint.is_ours:
        return time.time_ns()
    return nanoseconds(client.info()["SystemTime"].encode())


def _without(lines: Lines, given: dict[int, tuple[bytes, int]]) -> Lines | None:
    """Return the part of `lines` that was not yielded before; `given` is counted down."""
    if lines.stream not in given:
        return lines
    stamp, count = given[lines.stream]
    if lines.stamp != stamp:
        if nanoseconds(lines.stamp) < nanoseconds(stamp):
            return None
        del given[lines.stream]
        return lines
    has = lines.text.count(b"\n")
    given[lines.stream] = (stamp, max(0, count - has))
    at = 0
    for _ in range(min(count, has)):
        at = lines.text.index(b"\n", at) + 1
    return lines._replace(text=lines.text[at:]) if at < len(lines.text) else None
