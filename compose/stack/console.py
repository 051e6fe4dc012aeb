"""The caller's side of a process in a container."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from runtime.client.blocking import ResponseStream

Resize = Callable[[int, int], None]
"""Sets the size of the process's terminal: rows, columns."""


class Console(Protocol):
    """Where a process in a container reads from and writes to: the user's terminal, or two files."""

    def converse(self, stream: ResponseStream, *, takes_input: bool, resize: Resize | None) -> None:
        """Carry input (if `takes_input`) and output until the process's output ends.

        `resize` is given where the process has a terminal; it is called now and whenever ours changes its size.
        """

    def signals_to(self, kill: Callable[[str], None]) -> AbstractContextManager[None]:
        """Inside the block, pass signals that would end us on to the process: `kill("SIGTERM")`."""
