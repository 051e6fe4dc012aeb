"""Answers that come piece by piece: whoever has the pieces awaits `send` for each of them, all in one task.

Why they are not async generators: one that is left early is closed by the garbage collector, in a task of its own (PEP
525, "Asynchronous Generator Finalization"), and a task group or cancel scope around its `yield` is then exited by a task
that never entered it. anyio's bookkeeping does not survive that: one client that went away during an export ended the
engine. So nothing yields inside a task group here, and a test looks for it. Generators without tasks of their own are
fine; `pieces_of` makes a source of one.
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
    """Return a source of what a generator yields. The generator must have no tasks and cancel scopes of its own."""

    async def source(send: Send[T]) -> None:
        async with aclosing(pieces):
            async for piece in pieces:
                await send(piece)

    return source


async def send_reports(work: Callable[[Callable[[T], None]], Awaitable[Any]], send: Send[T]) -> None:
    """Run `work(report)`, and send what it reports while it goes on; its error is raised when all was sent."""
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
