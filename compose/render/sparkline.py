"""The last values of a number as a line of blocks. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

BLOCKS = "▁▂▃▄▅▆▇█"
KEPT = 24
"""How many values are shown."""


def sparkline(values: Iterable[float], most: float = 0.0) -> str:
    """Return a block for each value, the highest for `most`, or for the largest value if that is more."""
    found = list(values)
    top = max((*found, most), default=0.0)
    return "".join(BLOCKS[min(len(BLOCKS) - 1, int(value / top * len(BLOCKS))) if top > 0 else 0] for value in found)


class Histories:
    """The last values of several things, by name."""

    def __init__(self) -> None:
        self._values: dict[str, deque[float]] = {}

    def add(self, name: str, value: float, most: float = 0.0) -> str:
        """Add a value of `name`; return the line of its last ones."""
        values = self._values.setdefault(name, deque(maxlen=KEPT))
        values.append(value)
        return sparkline(values, most)
