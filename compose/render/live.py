"""Progress on a terminal: one line a resource, redrawn in place; the cursor always comes back."""

from __future__ import annotations

import os
import threading
import time
from typing import TextIO

from compose import events
from compose.render.frame import Row, Status, cells, draw
from compose.render.measured import measured
from compose.render.progress import WORDS, ProgressDisplay

REDRAW_S = 0.1
HIDE_CURSOR, SHOW_CURSOR, CLEAR_BELOW = "\x1b[?25l", "\x1b[?25h", "\x1b[J"
WAITING = ("Waiting",)
BAD = {"Unhealthy": Status.ERROR, "Error": Status.ERROR, "Resource is still in use": Status.WARNING}


class LiveProgress(ProgressDisplay):
    """Draws the rows from the first step until `close`; a thread of its own lets spinner and clocks run."""

    def __init__(self, out: TextIO, *, colour: bool = True) -> None:
        super().__init__(out)
        self._colour = colour
        self._rows: dict[str, Row] = {}
        self._title = "Running"
        self._drawn: list[int] = []
        self._painter: threading.Thread | None = None
        self._ended = threading.Event()

    def line(self, text: str) -> None:
        """Write one line above the rows; it stays."""
        with self._lock:
            self._erase()
            self._out.write(text + "\n")
            self._draw()

    def begin(self, kind: str, name: str) -> None:
        """Show that a step begins."""
        subject, doing, _ = WORDS[kind]
        if not self._rows and kind in ("build", "pull"):
            self._title = doing
        elif kind not in ("build", "pull"):
            self._title = "Running"
        self._set(f"{self.prefix}{subject} {name}", doing, Status.WORKING)

    def end(self, kind: str, name: str) -> None:
        """Show that a step is done."""
        subject, _, done = WORDS[kind]
        self._set(f"{self.prefix}{subject} {name}", done, Status.DONE)

    def fail(self, kind: str, name: str, state: str = "Error") -> None:
        """Show that a step failed."""
        self._set(f"{self.prefix}{WORDS[kind][0]} {name}", state, Status.ERROR)

    def state(self, subject: str, name: str, state: str) -> None:
        """Show the state of an object."""
        working = Status.WORKING if state in WAITING else Status.DONE
        self._set(f"{self.prefix}{subject} {name}", state, BAD.get(state, working))

    def output(self, kind: str, name: str, service: str, line: str) -> None:
        """Show a line that the step prints, under its row, while it works."""
        with self._lock:
            row = self._rows.get(f"{self.prefix}{WORDS[kind][0]} {name}")
            if row is not None:
                row.tail.append(line)
                del row.tail[:-20]

    def measure(self, event: events.StepMeasured) -> None:
        """Show how far a step is in its row, with the next frame."""
        with self._lock:
            subject, doing, _ = WORDS[event.kind]
            row = self._rows.get(f"{self.prefix}{subject} {event.name}")
            if row is not None and row.status is Status.WORKING:
                row.state = measured(doing, event)

    def close(self) -> None:
        """Draw the last frame and give the cursor back; may be called again."""
        self._ended.set()
        painter, self._painter = self._painter, None
        if painter is None:
            return
        with self._lock:
            try:
                self._erase()
                self._draw()
            finally:
                self._rows.clear()
                self._drawn = []
                self._out.write(SHOW_CURSOR)
                self._out.flush()

    def _set(self, label: str, state: str, status: Status) -> None:
        now_s = time.monotonic()
        with self._lock:
            if self._ended.is_set():
                return
            row = self._rows.setdefault(label, Row(label, state, now_s))
            row.state, row.status = state, status
            row.ended_s = None if status is Status.WORKING else now_s
            if status is Status.DONE:
                row.tail.clear()
            if self._painter is None:
                self._out.write(HIDE_CURSOR)
                self._painter = threading.Thread(target=self._paint, daemon=True)
                self._painter.start()
            self._erase()
            self._draw()

    def _paint(self) -> None:
        while not self._ended.wait(REDRAW_S):
            with self._lock:
                if self._ended.is_set():
                    return
                self._erase()
                self._draw()

    def _size(self) -> tuple[int, int]:
        try:
            width, height = os.get_terminal_size(self._out.fileno())
        except OSError:
            return 80, 24
        return width or 80, height or 24

    def _erase(self) -> None:
        """Go to the frame's first line and clear from there on.

        A terminal that became narrower wrapped the frame's lines: as many rows as they take now are gone up.
        """
        if not self._drawn:
            return
        width, height = self._size()
        taken = sum(max(1, -(-length // width)) for length in self._drawn)
        up = min(taken, height - 1)
        self._out.write((f"\x1b[{up}A" if up else "") + "\r" + CLEAR_BELOW)
        self._drawn = []

    def _draw(self) -> None:
        if not self._rows:
            self._out.flush()
            return
        width, height = self._size()
        now_s = time.monotonic()
        rows = list(self._rows.values())
        plain = draw(rows, now_s, width, height, title=self._title, colour=False)
        shown = draw(rows, now_s, width, height, title=self._title, colour=True) if self._colour else plain
        self._drawn = [cells(line) for line in plain]
        self._out.write("".join(line + "\r\n" for line in shown))
        self._out.flush()
