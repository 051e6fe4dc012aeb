"""The live display as lines: what each resource is doing, fitted to a terminal's size. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
SPINS_PER_S = 10
TAIL_LINES = 5
"""How many of the last output lines are shown under a row that works."""
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
    label_width = max((len(row.label) for row in shown), default=0)
    state_width = max((len(row.state) for row in shown if row.status is not Status.ERROR), default=0)
    lines = [head]
    spare = room - len(shown) - (len(shown) < len(rows))
    for row in shown:
        lines.append(_row(row, now_s, width, label_width, state_width, colour))
        if row.status is not Status.DONE:
            for text in row.tail[-min(TAIL_LINES, max(0, spare)) :] if spare > 0 else ():
                lines.append(_paint(_cut(f"   {text}", width), "tail", colour))
                spare -= 1
    if len(shown) < len(rows):
        lines.append(_cut(f"   … {len(rows) - len(shown)} more", width))
    return lines[: max(1, height - 1)]


def _that_fit(rows: Sequence[Row], room: int) -> list[Row]:
    if len(rows) <= room:
        return list(rows)
    by_need = sorted(range(len(rows)), key=lambda at: (rows[at].status is Status.DONE, -at))
    kept = set(by_need[: max(1, room - 1)])
    return [row for at, row in enumerate(rows) if at in kept]


def _row(row: Row, now_s: float, width: int, label_width: int, state_width: int, colour: bool) -> str:
    elapsed = f"{row.elapsed_s(now_s):.1f}s "
    mark = MARKS.get(row.status) or SPINNER[int(now_s * SPINS_PER_S) % len(SPINNER)]
    room = width - len(elapsed)
    text = _cut(f"  {row.label.ljust(label_width)}  {row.state.ljust(state_width)}", max(0, room - 2))
    if room < 12:  # too narrow for times
        return _cut(f" {mark}{text}", width)
    gap = " " * (room - 2 - len(text))
    name = row.status.value
    split = min(len(text), label_width + 4)
    return (
        " "
        + _paint(mark, name, colour)
        + text[1:split]
        + _paint(text[split:], name, colour)
        + gap
        + " "
        + _paint(elapsed.rstrip(), "elapsed", colour)
    )


def _cut(text: str, width: int) -> str:
    """Return `text` on one line of at most `width` columns."""
    clean = "".join(character if character.isprintable() else " " for character in text)
    return clean if len(clean) <= width else clean[: max(0, width - 1)] + "…" * (width > 0)


def _paint(text: str, name: str | None, colour: bool) -> str:
    return f"\x1b[{COLOURS[name]}m{text}\x1b[0m" if colour and name and text else text
