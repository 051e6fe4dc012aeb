"""Parses lines with a time stamp before each, as "Get container logs" writes them. Pure."""

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
    """Complete lines of one stream that have the same time stamp; `text` is without it."""

    stamp: bytes
    stream: int
    text: bytes

    def stamped(self) -> bytes:
        """Return the lines with their time stamp before each."""
        mark = self.stamp + b" "
        return mark + self.text[:-1].replace(b"\n", b"\n" + mark) + self.text[-1:]


class WholeLines:
    """Splits the data of each stream into complete lines and keeps the incomplete rest."""

    def __init__(self) -> None:
        self._parts: dict[int, list[bytes]] = {}

    def feed(self, stream: int, data: bytes) -> bytes:
        """Return the complete lines of `data`, with the rest kept from before in front."""
        end = data.rfind(b"\n") + 1
        held = self._parts.setdefault(stream, [])
        if not end:
            held.append(data)
            return b""
        whole = b"".join((*held, data[:end])) if held else data[:end]
        held[:] = [data[end:]] if end < len(data) else []
        return whole

    def rest(self) -> list[tuple[int, bytes]]:
        """Return the incomplete rests as (stream, bytes)."""
        return [(stream, b"".join(parts)) for stream, parts in self._parts.items() if parts]


class StampedLines:
    """Parses one container's output as it arrives."""

    def __init__(self) -> None:
        self._lines = WholeLines()

    def feed(self, stream: int, data: bytes) -> Iterator[Lines]:
        """Yield the complete lines in `data`, those of the same time together. Raises SkiffError for one without a time."""
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
        """Return the incomplete lines, each with a line end added."""
        found = []
        for stream, data in self._lines.rest():
            stamp, space, text = data.partition(b" ")
            if space:  # else it broke off in the middle of the time
                found.append(Lines(stamp, stream, text + b"\n"))
        return found


def _end_of_run(whole: bytes, start: int, line_end: int, mark: bytes) -> int:
    """Return the end of the run of lines that have the time of the line from `start` to `line_end` (written as `mark`)."""
    end, window = line_end, WINDOW_BYTES
    while whole.startswith(mark[1:], end):
        last = whole.rfind(mark, end - 1, end + window)
        end = whole.find(b"\n", last + 1) + 1
        window *= 2
    # if another time is in between (a clock was set back, so times are not sorted), the run is this one line
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
