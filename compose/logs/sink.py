"""Where the output of containers goes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from compose.logs.stamped import Lines


class LogSink(Protocol):
    """Receives output, also from several threads at once.

    A protocol instead of events: output comes by the million lines, and a call for many lines at once costs less than
    an object for each.
    """

    def open(self, names: Sequence[str]) -> None:
        """Prepare for output of the containers `names`."""

    def add(self, name: str) -> None:
        """Prepare for output of one more container."""

    def write_lines(self, name: str, lines: Lines, *, flushes: bool = True) -> None:
        """Take whole lines of container `name`; `flushes` is False while more follow at once."""

    def write_frames(self, name: str, frames: Iterable[tuple[int, bytes]]) -> None:
        """Take all output of container `name` as (stream, bytes), cut anywhere."""

    def flush(self) -> None:
        """Let readers see what was taken."""

    def exited(self, name: str, exit_code: int, *, is_restarting: bool, note: str = "") -> None:
        """Record that container `name` exited; `note` says more ("out of memory")."""

    def mark(self, name: str, text: str) -> None:
        """Record what else happened to container `name` between two lines ("has been recreated")."""
