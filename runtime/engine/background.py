"""The engine's background tasks; an exception in one is logged and ends no other."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel

from runtime.errors import SkiffError

logger = logging.getLogger(__name__)


class Background:
    """Starts tasks in the engine's task group, whose exceptions are caught, so that none cancels the group."""

    def __init__(self, group: anyio.abc.TaskGroup) -> None:
        self._group = group

    def start_soon(
        self, work: Callable[..., Awaitable[Any]], *arguments: Any, failed: Callable[[Exception], None] | None = None
    ) -> None:
        """Run `work(*arguments)` as a task; log an exception, and call `failed` with it."""
        self._group.start_soon(self._guarded, work, arguments, failed)

    async def _guarded(
        self,
        work: Callable[..., Awaitable[Any]],
        arguments: tuple[Any, ...],
        failed: Callable[[Exception], None] | None,
    ) -> None:
        if (error := await log_errors(work, *arguments)) is not None and failed is not None:
            failed(error)


async def log_errors(work: Callable[..., Awaitable[Any]], *arguments: Any) -> Exception | None:
    """Await `work(*arguments)`; log and return an exception, so that the caller can go on."""
    try:
        await work(*arguments)
    except (KeyboardInterrupt, anyio.get_cancelled_exc_class()):
        raise
    except BaseException as error:  # noqa: BLE001 - the one place that lets a task fail without the engine
        # BaseExceptions too (SystemExit of a library, GeneratorExit, groups of them): they would cancel the tasks of all
        # containers
        log(error)
        await anyio.lowlevel.checkpoint_if_cancelled()  # an exception group may contain our own cancellation
        return error if isinstance(error, Exception) else RuntimeError(repr(error))
    return None


def log(error: BaseException) -> None:
    """Log an exception of a background task."""
    if isinstance(error, SkiffError):
        logger.error("%s", error)
    else:
        logger.error("a background task failed: %s", error, exc_info=error)
