"""A client attached to a process's streams (Docker Engine API, "Attach to a container")."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from runtime.streaming import Source


@dataclass(frozen=True)
class LogFrame:
    """Output of `stream` (1 stdout, 2 stderr, 0 terminal)."""

    stream: int
    data: bytes


async def write_all(descriptor: int, data: bytes) -> None:
    """Write `data` to a non-blocking descriptor. Raises BrokenPipeError if there is no reader."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            await anyio.wait_writable(descriptor)


class Attachment:
    """Input to and output of a process. `output` sends until the end of the process's output.

    `stdin` returns the descriptor of its standard input once it is started; `stdin_lock` serializes writers, if several
    clients can be attached.
    """

    def __init__(
        self,
        *,
        tty: bool,
        output: Source[LogFrame],
        stdin: Callable[[], Awaitable[int | None]],
        close_stdin: Callable[[], Awaitable[None]],
        detached: Callable[[], None],
        stdin_lock: anyio.Lock | None = None,
    ) -> None:
        self.tty = tty
        self.output = output
        self._stdin = stdin
        self._close_stdin = close_stdin
        self._detached = detached
        self._stdin_lock = stdin_lock or anyio.Lock()

    async def send(self, data: bytes) -> None:
        """Write `data` to the process's standard input, if it has one."""
        descriptor = await self._stdin()
        if descriptor is not None:
            try:
                async with self._stdin_lock:
                    await write_all(descriptor, data)
            except OSError:
                return  # the process has closed its standard input: discard the rest, like a shell with a pipe

    async def send_eof(self) -> None:
        """Close the standard input, but not a terminal, where EOF is a character (^D)."""
        if not self.tty:
            await self._close_stdin()

    def detach(self) -> None:
        """Report that the client detaches; the process runs on."""
        self._detached()
