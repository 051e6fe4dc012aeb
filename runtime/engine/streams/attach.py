"""A client's hold on a process's streams (Docker Engine API, "Attach to a container")."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from runtime.streaming import Source


@dataclass(frozen=True)
class LogFrame:
    """Output of `stream` (1 stdout, 2 stderr, 0 a terminal's)."""

    stream: int
    data: bytes


async def write_all(descriptor: int, data: bytes) -> None:
    """Write `data` to a non-blocking descriptor. Raises BrokenPipeError when nobody reads."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            await anyio.wait_writable(descriptor)


class Attachment:
    """Input to and output of a process. `output` sends until the process's output ends.

    `turn` is the lock of its input, where several may give it some.
    """

    def __init__(
        self,
        *,
        tty: bool,
        output: Source[LogFrame],
        stdin: Callable[[], Awaitable[int | None]],
        close_stdin: Callable[[], Awaitable[None]],
        detached: Callable[[], None],
        turn: anyio.Lock | None = None,
    ) -> None:
        self.tty = tty
        self.output = output
        self._stdin = stdin
        self._close_stdin = close_stdin
        self._detached = detached
        self._turn = turn or anyio.Lock()

    async def send(self, data: bytes) -> None:
        """Give `data` to the process's standard input, where it has one."""
        descriptor = await self._stdin()
        if descriptor is not None:
            try:
                async with self._turn:  # whoever else types into the same process
                    await write_all(descriptor, data)
            except OSError:
                return  # the process closed its end: as with a pipe in a shell, the rest goes nowhere

    async def send_eof(self) -> None:
        """End the standard input. A terminal's goes on: its end is a character."""
        if not self.tty:
            await self._close_stdin()

    def detach(self) -> None:
        """Tell that the client leaves on purpose; the process goes on."""
        self._detached()
