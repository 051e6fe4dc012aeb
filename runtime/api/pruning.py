"""Answers of the routes that prune: one document, or what is removed as it is (Docker Engine API, since version 1.56)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from runtime.api.request import Request, line
from runtime.engine import filters
from runtime.errors import SkiffError
from runtime.streaming import Send, send_reports

Prune = Callable[[filters.Filters, filters.Report], Awaitable[dict[str, Any]]]


async def answer(request: Request, prune: Prune) -> None:
    """Answer with what `prune` returns. With `stream`, what it removes comes first, and an error in its place."""
    wanted = filters.parse(request.text("filters"))
    if request.version < (1, 56) or not request.flag("stream"):
        await request.answer(200, await prune(wanted, lambda _, __: None))
        return

    async def source(send: Send[dict[str, Any]]) -> None:
        async def work(report: Callable[[dict[str, Any]], None]) -> None:
            report({"aux": await prune(wanted, lambda id, status: report({"id": id, "status": status}))})

        try:
            await send_reports(work, send)
        except SkiffError as error:
            if not request.has_answered:
                raise
            await send({"errorDetail": error.document()})

    await request.stream(source, encode=line, kind="application/jsonl", waits=True)
