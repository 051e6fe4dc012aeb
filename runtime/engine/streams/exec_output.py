"""Reads the output of an exec until its end."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterable

import anyio

from runtime.container.output import read_output
from runtime.engine.streams.attach import LogFrame
from runtime.image.transfers import together
from runtime.keeper.handles import ProcessHandle
from runtime.streaming import Send

CHUNK_BYTES = 1 << 16
PATIENCE_S = 2.0
"""How long output is read after the process has exited: processes that it left behind may keep the pipes open."""
FIONREAD = 0x541B
"""<asm-generic/ioctls.h>: number of readable bytes."""
SOURCES = (("console", 0), ("stdout", 1), ("stderr", 2))


async def send_output(process: ProcessHandle, ended: anyio.Event, send: Send[LogFrame]) -> None:
    """Send the output of a process until EOF, at most until PATIENCE_S after `ended`; return after `ended`."""
    pipes = [_Pipe(process.fds[name], stream) for name, stream in SOURCES if name in process.fds]
    lock = anyio.Lock()

    async def send_alone(frame: LogFrame) -> None:
        async with lock:  # both pipes are sent over one connection
            await send(frame)

    async with together() as group:
        group.start_soon(_limit, ended, pipes)
        async with together() as readers:
            for pipe in pipes:
                readers.start_soon(pipe.send_all, send_alone)
        group.cancel_scope.cancel()
    await ended.wait()


async def _limit(ended: anyio.Event, pipes: Iterable[_Pipe]) -> None:
    await ended.wait()
    await anyio.sleep(PATIENCE_S)
    for pipe in pipes:
        pipe.finish()


class _Pipe:
    """The read end of a process's output, or its terminal."""

    def __init__(self, descriptor: int, stream: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._stream = stream
        self._waiting = anyio.CancelScope()
        self._left: int | None = None

    def finish(self) -> None:
        """Read only what is in the pipe now."""
        held = fcntl.ioctl(self._descriptor, FIONREAD, b"\0" * 4)
        (self._left,) = struct.unpack("i", held)
        self._waiting.cancel()

    async def send_all(self, send: Send[LogFrame]) -> None:
        """Send all data until EOF."""
        while self._left != 0:
            size = CHUNK_BYTES if self._left is None else min(CHUNK_BYTES, self._left)
            try:
                data = read_output(self._descriptor, size)
            except BlockingIOError:
                await self._wait()
                continue
            if not data:
                return
            if self._left is not None:
                self._left -= len(data)
            await send(LogFrame(self._stream, data))

    async def _wait(self) -> None:
        self._waiting = anyio.CancelScope()
        with self._waiting:
            await anyio.wait_readable(self._descriptor)
