"""Merged logs: whole lines, each with its container's name before it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Sequence

from compose.logs.stamped import Lines, WholeLines

COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


class LogPrinter:
    """Writes output of several containers to standard output, whole lines at a time. Safe from several threads.

    `timestamps` says whether their times are shown. With `separates_errors` their standard error goes to ours, otherwise
    to standard output as well.
    """

    def __init__(
        self,
        *,
        prefix: bool = True,
        colour: bool | None = None,
        timestamps: bool = False,
        separates_errors: bool = False,
    ) -> None:
        self._errors = sys.stderr.buffer if separates_errors else None
        self._width = 0
        self._prefix = prefix
        self._timestamps = timestamps
        self._colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") if colour is None else colour
        self._numbers: dict[str, int] = {}
        self._open: dict[str, WholeLines] = {}
        self._lock = threading.Lock()

    def head(self, name: str) -> bytes:
        """Return the prefix of the lines of container `name`."""
        if not self._prefix:
            return b""
        text = f"{name.ljust(self._width)}  | "
        return (self._coloured(name, text) if self._colour else text).encode()

    def open(self, names: Sequence[str]) -> None:
        """Prepare for output of the containers `names`: as wide a column as the longest takes, a colour for each."""
        self._width = max((len(name) for name in names), default=0)
        self._numbers = {name: number for number, name in enumerate(names)}

    def add(self, name: str) -> None:
        """Widen the column of names for another container's, if needed."""
        self._width = max(self._width, len(name))

    def write(self, name: str, stream: int, data: bytes) -> None:
        """Write the complete lines of `data`; an incomplete one is kept for the next call."""
        self._put(name, stream, self._open.setdefault(name, WholeLines()).feed(stream, data))

    def write_lines(self, name: str, lines: Lines, *, flushes: bool = True) -> None:
        """Write complete lines; `flushes` is False while more follow at once."""
        self._put(name, lines.stream, lines.stamped() if self._timestamps else lines.text, flushes=flushes)

    def finish(self, name: str) -> None:
        """Write the incomplete lines of container `name`, each with a line end added."""
        for stream, data in self._open.pop(name, WholeLines()).rest():
            self._put(name, stream, data + b"\n")

    def write_frames(self, name: str, frames: Iterable[tuple[int, bytes]]) -> None:
        """Write all output of container `name`, (stream, bytes) cut anywhere; the last line may lack its end."""
        if self._prefix:
            for stream, data in frames:
                self.write(name, stream, data)
            self.finish(name)
            return
        out = sys.stdout.buffer
        for _, data in frames:
            out.write(data)
        out.flush()

    def flush(self) -> None:
        """Write what was not flushed."""
        with self._lock:
            sys.stdout.buffer.flush()

    def exited(self, name: str, exit_code: int, *, is_restarting: bool, note: str = "") -> None:
        """Write that container `name` exited; `note` says more."""
        restarting = " (restarting)" if is_restarting else ""
        self.mark(name, f"exited with code {exit_code}{restarting}" + (f", {note}" if note else ""))

    def mark(self, name: str, text: str) -> None:
        """Write what happened to container `name`, a line of its own."""
        line = f"{name} {text}"
        with self._lock:
            out = sys.stdout.buffer
            out.write((self._coloured(name, line) if self._colour else line).encode() + b"\n")
            out.flush()

    def _coloured(self, name: str, text: str) -> str:
        container = name.partition(" ")[0]  # a hook has its container's colour
        number = self._numbers.setdefault(container, len(self._numbers))
        return f"\x1b[{COLOURS[number % len(COLOURS)]}m{text}\x1b[0m"

    def _put(self, name: str, stream: int, lines: bytes, *, flushes: bool = True) -> None:
        if not lines:
            return
        head = self.head(name)
        if head:
            lines = head + lines[:-1].replace(b"\n", b"\n" + head) + b"\n"
        with self._lock:
            out = self._errors if stream == 2 and self._errors is not None else sys.stdout.buffer
            out.write(lines)
            if flushes:
                out.flush()
