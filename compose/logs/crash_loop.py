"""Counts how often containers end and are started again, to say so while it happens."""

from __future__ import annotations

import time
from collections.abc import Callable

from compose.units import ordinal

WINDOW_S = 600.0
"""Ends that lie further back are not counted."""


class CrashLoops:
    """Remembers when each container ended."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends: dict[str, list[float]] = {}

    def note(self, id: str) -> str:
        """Count one more end of container `id`; return "4th time in 12 s", "" for the first."""
        now_s = self._clock()
        ends = [end for end in self._ends.get(id, ()) if now_s - end <= WINDOW_S]
        self._ends[id] = ends = [*ends, now_s]
        return f"{ordinal(len(ends))} time in {max(1, round(now_s - ends[0]))} s" if len(ends) > 1 else ""
