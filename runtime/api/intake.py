"""Limits on unfinished requests: time, memory, connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from runtime.errors import RequestTimeoutError, UnavailableError


@dataclass(frozen=True)
class IntakeLimits:
    """The limits of one server.

    Idle connections are not limited in time, since clients keep them for the next request. A request that has begun is,
    so that no client occupies memory or a temporary file by sending a byte a minute.
    """

    connections: int = 4096
    unfinished_bytes: int = 16 << 20
    """Memory for incomplete heads and documents of all connections together."""
    head_s: float = 30.0
    """Time for a whole head."""
    document_s: float = 60.0
    """Time for a whole JSON document."""
    pause_s: float = 600.0
    """Time between two pieces of a body that is spooled to disk: packing an archive may take a client long."""
    linger_s: float = 2.0
    """Time for the rest of a body that is not used: closing a connection with unread data may discard the answer."""


@dataclass(eq=False)
class Intake:
    """Counts the bytes of incomplete heads and documents of all connections."""

    limits: IntakeLimits
    held_bytes: int = field(default=0, init=False)

    @contextmanager
    def holding(self) -> Iterator[Hold]:
        """Count the bytes of one head or document until the end of the block."""
        hold = Hold(self)
        try:
            yield hold
        finally:
            self.held_bytes -= hold.held_bytes


class Hold:
    """The bytes of one head or document."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.held_bytes = 0

    def add(self, count: int) -> None:
        """Add `count` bytes. Raises UnavailableError if the total exceeds `IntakeLimits.unfinished_bytes`."""
        self.held_bytes += count
        self._intake.held_bytes += count
        if self._intake.held_bytes > self._intake.limits.unfinished_bytes:
            raise UnavailableError(
                "too many unfinished requests: together they hold "
                f"{self._intake.held_bytes >> 20} MiB, and the limit is {self._intake.limits.unfinished_bytes >> 20} MiB",
                "try again later",
            )


@contextmanager
def within(seconds: float, what: str) -> Iterator[None]:
    """Raise RequestTimeoutError with `what` if the block takes longer than `seconds`."""
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError:
        raise RequestTimeoutError(f"{what} did not arrive within {seconds:g} s") from None
