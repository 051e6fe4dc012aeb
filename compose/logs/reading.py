"""One container's log, read so that each line comes once, wherever reading breaks off and goes on.

The engine gives lines by the times at which they began ("Get container logs": since), and what had come by a time
(until). So times tell places: what exists at a moment can be read apart from what comes after it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from compose.logs.stamped import Lines, StampedLines, api_nanoseconds, moment, nanoseconds
from compose.plan.project import ObservedContainer
from runtime.client import Client, Endpoint
from runtime.errors import EngineError, NotFoundError, SkiffError

PAUSE_S = 0.02
"""How long an engine that hung up is left in peace."""
MOST_FAILURES = 5
"""How often in a row an engine may fail to answer; connecting starts ours."""


class LogReading:
    """Reads the log of `container`. `query` has settings of "Get container logs": since, until, tail."""

    def __init__(self, where: Endpoint, container: ObservedContainer, query: Mapping[str, Any]) -> None:
        self.container = container
        self._where = where
        self._query = {key: value for key, value in query.items() if key in ("since", "until", "tail") and value}
        self._taken: dict[int, tuple[bytes, int]] = {}
        """By stream, the time of the last line that was given, and how many of that time were."""
        self._floor_ns = 0
        """From when on all is given; of what was before, the last lines alone may have been wanted."""
        self._unended: list[Lines] = []
        """What had no line's end yet when reading broke off: it is not given yet."""

    def whole(self) -> Iterator[Lines]:
        """Yield all that there is, also a line that has no end yet. Raises SkiffError."""
        yield from self._lines(dict(self._query))
        yield from self._unended

    def until(self, time_ns: int) -> Iterator[Lines]:
        """Yield what had come by `time_ns`; a line that had no end yet is left for `live`. Raises SkiffError."""
        query, end = dict(self._query), moment(time_ns)
        yield from self._lines({**query, "until": end})
        self._floor_ns = max(time_ns + 1, api_nanoseconds(query.get("since", "0")))
        self._query |= {"since": moment(self._floor_ns), "tail": "all"}
        if self._unended:
            self._query["since"] = moment(min(nanoseconds(lines.stamp) for lines in self._unended))
            if query.get("tail", "all") != "all":
                self._count({"since": self._query["since"], "until": end})

    def live(self, *, attached: bool = False) -> Iterator[Lines]:
        """Yield what comes, from where reading broke off, until the container stops or is gone. Raises SkiffError.

        With `attached`, which is our engine's own, from the next start on of one that does not run; it misses nothing.
        """
        query = {**self._query, "follow": 1, "attached": int(attached)}
        try:
            yield from self._lines(query)
            is_over = self._has_ended()
        except NotFoundError:
            is_over = True
        self._go_on()
        if is_over or "until" in self._query:
            for lines in self._unended:  # nobody ends it any more
                self._take(lines)
                yield lines
            self._unended = []

    def _has_ended(self) -> bool:
        """Whether nothing goes on with a line that has no end yet. Raises NotFoundError."""
        try:
            state = Client(self._where).container(self.container.id)["State"]
        except EngineError:
            raise
        except SkiffError:  # the engine died just now: where it goes on is known
            return False
        return not state["Running"] or bool(state.get("Restarting"))

    def _lines(self, query: dict[str, Any]) -> Iterator[Lines]:
        """Yield the lines that `query` wants and that were not given yet; goes on when the engine comes back."""
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
                query |= {**self._query, "attached": 0}  # what was waited for may have been meanwhile

    def _answer(self, query: Mapping[str, Any]) -> Iterator[Lines]:
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
                raise ConnectionResetError("the engine hung up")

    def _take(self, lines: Lines) -> None:
        stamp, count = self._taken.get(lines.stream, (b"", 0))
        more = lines.text.count(b"\n")
        self._taken[lines.stream] = (lines.stamp, more + count if lines.stamp == stamp else more)

    def _go_on(self) -> None:
        """Have the next request begin with the first line that may have more, or with the last that was given."""
        unended = [nanoseconds(lines.stamp) for lines in self._unended]
        given = [nanoseconds(stamp) for stamp, _ in self._taken.values()]
        if unended or given:
            self._query["since"] = moment(min(unended) if unended else max(self._floor_ns, *given))

    def _count(self, query: dict[str, Any]) -> None:
        """Take all that `query` gives for given: the last lines of a log tell not which of their time they are."""
        self._taken = {}
        for _ in self._lines(query):
            pass


def engine_time_ns(client: Client) -> int:
    """Return the engine's time, in nanoseconds since 1970."""
    if client.endpoint.is_ours:
        return time.time_ns()
    return nanoseconds(client.info()["SystemTime"].encode())


def _without(lines: Lines, given: dict[int, tuple[bytes, int]]) -> Lines | None:
    """Return what of `lines` was not given yet; `given` is counted down."""
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
