"""Streamed responses: a source awaits `send` for each of its pieces, all in one task.

Why sources are not async generators: one that is not exhausted is closed by the garbage collector, in another task (PEP
525, "Asynchronous Generator Finalization"), so a task group or cancel scope around its `yield` is exited by a task that
did not enter it. That breaks anyio's state: one client that disconnected during an export crashed the engine. So there
is no `yield` inside a task group, and a test checks that. Generators without task groups and cancel scopes are fine;
`pieces_of` makes a source from one.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import anyio

from runtime.errors import first_error

T = TypeVar("T")
Send = Callable[[T], Awaitable[None]]
Source = Callable[[Send[T]], Awaitable[None]]


def pieces_of(pieces: AsyncGenerator[T, None]) -> Source[T]:
    """Return a source of what a generator yields. The generator must not have task groups or cancel scopes."""

    async def source(send: Send[T]) -> None:
        async with aclosing(pieces):
            async for piece in pieces:
                await send(piece)

    return source


async def send_reports(work: Callable[[Callable[[T], None]], Awaitable[Any]], send: Send[T]) -> None:
    """Run `work(report)` and send its reports as they come; if it raises, the error is raised after they are sent."""
    sender, receiver = anyio.create_memory_object_stream[T](math.inf)
    failed: list[Exception] = []

    async def run() -> None:
        with sender:
            try:
                await work(sender.send_nowait)
            except Exception as error:  # noqa: BLE001 - raised below
                failed.append(error)

    try:
        async with anyio.create_task_group() as group, receiver:
            group.start_soon(run)
            async for report in receiver:
                await send(report)
    except BaseExceptionGroup as errors:
        raise first_error(errors) from None
    if failed:
        raise failed[0]
