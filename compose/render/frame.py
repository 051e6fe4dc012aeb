"""The live display as lines: what each resource is doing, fitted to a terminal's size. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from unicodedata import combining, east_asian_width

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
SPINS_PER_S = 10
TAIL_LINES = 5
"""How many of the last output lines are shown under a row that works."""
MIN_TEXT_WIDTH = 9
"""Columns for name and state below which no time is shown."""
COLOURS = {"working": 33, "done": 32, "warning": 33, "error": 31, "title": 34, "elapsed": 34, "tail": 2}


class Status(Enum):
    """How far a resource is."""

    WORKING = "working"
    DONE = "done"
    WARNING = "warning"
    ERROR = "error"


MARKS = {Status.DONE: "✔", Status.WARNING: "!", Status.ERROR: "✘"}


@dataclass
class Row:
    """A resource: its name, its state in a word, since when and until when it was worked on (monotonic seconds)."""

    label: str
    state: str
    began_s: float
    status: Status = Status.WORKING
    ended_s: float | None = None
    tail: list[str] = field(default_factory=list)

    def elapsed_s(self, now_s: float) -> float:
        """Return how long the resource has been worked on."""
        return (self.ended_s if self.ended_s is not None else now_s) - self.began_s


def draw(
    rows: Sequence[Row], now_s: float, width: int, height: int, *, title: str = "Running", colour: bool = True
) -> list[str]:
    """Return the frame's lines: none is wider than `width` columns, and there are fewer than `height` of them.

    Where rows do not fit, finished ones are left out before those that still work, and a last line counts them.
    """
    done = sum(row.status is Status.DONE for row in rows)
    head = _paint(_cut(f"[+] {title} {done}/{len(rows)}", width), "title" if done == len(rows) else None, colour)
    room = max(1, height - 2)
    shown = _that_fit(rows, room)
    label_width = max((cells(row.label) for row in shown), default=0)
    times = [f"{row.elapsed_s(now_s):.1f}s" for row in shown]
    time_width = max(map(len, times), default=0)
    lines = [head]
    spare = room - len(shown) - (len(shown) < len(rows))
    for row, time in zip(shown, times, strict=True):
        lines.append(_row(row, now_s, time.rjust(time_width), width, label_width, colour))
        if row.status is not Status.DONE:
            for text in row.tail[-min(TAIL_LINES, max(0, spare)) :] if spare > 0 else ():
                lines.append(_paint(_cut(f"   {text}", width), "tail", colour))
                spare -= 1
    if len(shown) < len(rows):
        lines.append(_cut(f" ... {len(rows) - len(shown)} more", width))
    return lines[: max(1, height - 1)]


def cells(text: str) -> int:
    """Return how many columns `text` takes on a terminal: characters of East Asia take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(each) else 2 if east_asian_width(each) in "WF" else 1 for each in text)


def _that_fit(rows: Sequence[Row], room: int) -> list[Row]:
    if len(rows) <= room:
        return list(rows)
    by_need = sorted(range(len(rows)), key=lambda at: (rows[at].status is Status.DONE, -at))
    kept = set(by_need[: max(1, room - 1)])
    return [row for at, row in enumerate(rows) if at in kept]


def _row(row: Row, now_s: float, time: str, width: int, label_width: int, colour: bool) -> str:
    """Return a row in docker compose's columns: mark, name, state behind the longest name, time at the right edge."""
    mark = MARKS.get(row.status) or SPINNER[int(now_s * SPINS_PER_S) % len(SPINNER)]
    label = f" {row.label}{' ' * (label_width - cells(row.label))} "
    room = width - 2 - len(time) - 1
    if room < MIN_TEXT_WIDTH:  # too narrow for times
        return _cut(f" {mark}{label}{row.state}", width)
    name = row.status.value
    text = _cut(f"{label}{row.state}", room)
    split = min(len(text), len(label))
    gap = " " * (room - cells(text) + 1)
    state = _paint(text[split:], name, colour)
    return " " + _paint(mark, name, colour) + text[:split] + state + gap + _paint(time, "elapsed", colour)


def _cut(text: str, width: int) -> str:
    """Return `text` on one line of at most `width` columns."""
    clean = "".join(character if character.isprintable() else " " for character in text)
    if cells(clean) <= width:
        return clean
    dots = "..." if width > len("...") else ""
    found, taken = [], len(dots)
    for character in clean:
        taken += cells(character)
        if taken > width:
            break
        found.append(character)
    return "".join(found) + dots


def _paint(text: str, name: str | None, colour: bool) -> str:
    return f"\x1b[{COLOURS[name]}m{text}\x1b[0m" if colour and name and text else text
