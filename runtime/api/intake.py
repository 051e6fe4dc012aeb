"""What clients may cost before they have said what they want: time, memory, connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from runtime.errors import RequestTimeoutError, UnavailableError


@dataclass(frozen=True)
class IntakeLimits:
    """The bounds of one server.

    An idle connection may stay idle: clients keep theirs for the next request. Timed is what has begun, so that nobody
    holds memory, or a temporary file, by sending a byte a minute.
    """

    connections: int = 4096
    unfinished_bytes: int = 16 << 20
    """What heads and documents that are not whole yet may take, of all connections together."""
    head_s: float = 30.0
    """From a head's first byte to its last."""
    document_s: float = 60.0
    """For the whole of a JSON document."""
    pause_s: float = 600.0
    """Between two pieces of a body that goes to disk: whoever makes an archive may take a while over it."""
    linger_s: float = 2.0
    """For the rest of a body that nobody wants: an answer is lost when the connection ends amid the request."""


@dataclass(eq=False)
class Intake:
    """Counts the bytes that all connections hold of what is not whole yet."""

    limits: IntakeLimits
    held_bytes: int = field(default=0, init=False)

    @contextmanager
    def holding(self) -> Iterator[Hold]:
        """Give an account of one head or document; the block's end closes it."""
        hold = Hold(self)
        try:
            yield hold
        finally:
            self.held_bytes -= hold.held_bytes


class Hold:
    """What one head or document holds of the intake."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.held_bytes = 0

    def add(self, count: int) -> None:
        """Note `count` more bytes. Raises UnavailableError when all together are too many."""
        self.held_bytes += count
        self._intake.held_bytes += count
        if self._intake.held_bytes > self._intake.limits.unfinished_bytes:
            raise UnavailableError(
                "too many unfinished requests: together they hold "
                f"{self._intake.held_bytes >> 20} MiB, and {self._intake.limits.unfinished_bytes >> 20} MiB are read at most",
                "try again when other clients have sent theirs",
            )


@contextmanager
def within(seconds: float, what: str) -> Iterator[None]:
    """Raise RequestTimeoutError, naming `what`, when the block takes longer than `seconds`."""
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError:
        raise RequestTimeoutError(f"{what} did not arrive within {seconds:g} s") from None
