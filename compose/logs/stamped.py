"""Lines of output with their times before them, as "Get container logs" writes them, taken apart. Pure."""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterator
from typing import NamedTuple

from runtime.errors import SkiffError

SECOND_NS = 1_000_000_000
WINDOW_BYTES = 4096
WHOLE_SECONDS = len("2000-01-01T00:00:00")


class Lines(NamedTuple):
    """Whole lines of one stream that came at the same time (as it was written, without the space); without it."""

    stamp: bytes
    stream: int
    text: bytes

    def stamped(self) -> bytes:
        """Return the lines with their time before each."""
        mark = self.stamp + b" "
        return mark + self.text[:-1].replace(b"\n", b"\n" + mark) + self.text[-1:]


class WholeLines:
    """Holds back what has no line's end yet, of each stream."""

    def __init__(self) -> None:
        self._parts: dict[int, list[bytes]] = {}

    def feed(self, stream: int, data: bytes) -> bytes:
        """Return the whole lines of `data`, together with what was held back before."""
        end = data.rfind(b"\n") + 1
        held = self._parts.setdefault(stream, [])
        if not end:
            held.append(data)
            return b""
        whole = b"".join((*held, data[:end])) if held else data[:end]
        held[:] = [data[end:]] if end < len(data) else []
        return whole

    def rest(self) -> list[tuple[int, bytes]]:
        """Return (stream, bytes) of what is held back."""
        return [(stream, b"".join(parts)) for stream, parts in self._parts.items() if parts]


class StampedLines:
    """Takes one container's output apart as it comes."""

    def __init__(self) -> None:
        self._lines = WholeLines()

    def feed(self, stream: int, data: bytes) -> Iterator[Lines]:
        """Yield the whole lines in `data`, those of the same time together. Raises SkiffError for one without a time."""
        whole = self._lines.feed(stream, data)
        start = 0
        while start < len(whole):
            line_end = whole.find(b"\n", start) + 1
            space = whole.find(b" ", start, line_end)
            if space < 0:
                raise SkiffError("the engine wrote a line without its time", "is it a Docker engine?")
            stamp = whole[start:space]
            mark = b"\n" + stamp + b" "
            end = _end_of_run(whole, start, line_end, mark)
            yield Lines(stamp, stream, whole[start + len(mark) - 1 : end].replace(mark, b"\n"))
            start = end

    def rest(self) -> list[Lines]:
        """Return the lines that have no end yet, each ended."""
        found = []
        for stream, data in self._lines.rest():
            stamp, space, text = data.partition(b" ")
            if space:  # else it broke off amid the time
                found.append(Lines(stamp, stream, text + b"\n"))
        return found


def _end_of_run(whole: bytes, start: int, line_end: int, mark: bytes) -> int:
    """Return where the lines end that have the same time as the one from `start` to `line_end`, which `mark` writes."""
    end, window = line_end, WINDOW_BYTES
    while whole.startswith(mark[1:], end):
        last = whole.rfind(mark, end - 1, end + window)
        end = whole.find(b"\n", last + 1) + 1
        window *= 2
    # where another time stands in between (a clock was set back, times are not sorted), it is one line
    is_uniform = whole.count(b"\n", start, end) == whole.count(mark, start, end) + 1
    return end if is_uniform else line_end


def nanoseconds(stamp: bytes) -> int:
    """Return the time that a line's stamp writes, in nanoseconds since 1970. Raises ValueError."""
    text = stamp.decode("ascii")
    seconds = calendar.timegm(time.strptime(text[:WHOLE_SECONDS], "%Y-%m-%dT%H:%M:%S"))
    rest = text[WHOLE_SECONDS:]
    digits = ""
    if rest.startswith("."):
        digits = rest[1 : len(rest) - len(rest[1:].lstrip("0123456789"))]
        rest = rest[1 + len(digits) :]
    if rest[:1] in ("+", "-"):
        hours, _, minutes = rest[1:].partition(":")
        offset_s = int(hours) * 3600 + int(minutes or 0) * 60
        seconds -= offset_s if rest[0] == "+" else -offset_s
    return seconds * SECOND_NS + int(f"{digits:0<9}"[:9])


def moment(time_ns: int) -> str:
    """Return a time as the Docker Engine API reads it: seconds since 1970, with nanoseconds."""
    return f"{time_ns // SECOND_NS}.{time_ns % SECOND_NS:09d}"


def api_nanoseconds(text: str) -> int:
    """Return the time that `moment` wrote, in nanoseconds since 1970."""
    seconds, _, rest = text.partition(".")
    sign = -1 if seconds.startswith("-") else 1
    return int(seconds) * SECOND_NS + sign * int(f"{rest:0<9}"[:9])
