"""What an exec's process writes, until it ends."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterable

import anyio

from runtime.engine.streams.attach import LogFrame
from runtime.image.transfers import together
from runtime.keeper.handles import ProcessHandle
from runtime.streaming import Send

CHUNK_BYTES = 1 << 16
PATIENCE_S = 2.0
"""How long the output may stay open after the process's end: who it has left behind may hold it for ever."""
FIONREAD = 0x541B
"""<asm-generic/ioctls.h>: how much there is to be read."""
SOURCES = (("console", 0), ("stdout", 1), ("stderr", 2))


async def send_output(process: ProcessHandle, ended: anyio.Event, send: Send[LogFrame]) -> None:
    """Send the output of a process until its pipes end, or what is in them soon after `ended`; that is awaited."""
    pipes = [_Pipe(process.fds[name], stream) for name, stream in SOURCES if name in process.fds]
    turn = anyio.Lock()

    async def send_alone(frame: LogFrame) -> None:
        async with turn:  # the two pipes share the client's connection
            await send(frame)

    async with together() as group:
        group.start_soon(_hurry, ended, pipes)
        async with together() as readers:
            for pipe in pipes:
                readers.start_soon(pipe.send_all, send_alone)
        group.cancel_scope.cancel()
    await ended.wait()


async def _hurry(ended: anyio.Event, pipes: Iterable[_Pipe]) -> None:
    await ended.wait()
    await anyio.sleep(PATIENCE_S)
    for pipe in pipes:
        pipe.hurry()


class _Pipe:
    """The reading end of a process's output, or its terminal."""

    def __init__(self, descriptor: int, stream: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._stream = stream
        self._waiting = anyio.CancelScope()
        self._left: int | None = None

    def hurry(self) -> None:
        """Read what is there now, and no more."""
        held = fcntl.ioctl(self._descriptor, FIONREAD, b"\0" * 4)
        (self._left,) = struct.unpack("i", held)
        self._waiting.cancel()

    async def send_all(self, send: Send[LogFrame]) -> None:
        """Send what can be read until the end."""
        while self._left != 0:
            try:
                data = os.read(self._descriptor, CHUNK_BYTES if self._left is None else min(CHUNK_BYTES, self._left))
            except BlockingIOError:
                await self._wait()
                continue
            except OSError as error:
                if error.errno == errno.EIO:  # tty: nobody has the other end open any more
                    return
                raise
            if not data:
                return
            if self._left is not None:
                self._left -= len(data)
            await send(LogFrame(self._stream, data))

    async def _wait(self) -> None:
        self._waiting = anyio.CancelScope()
        with self._waiting:
            await anyio.wait_readable(self._descriptor)
