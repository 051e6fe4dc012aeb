"""The engine's background tasks: what fails in one of them is logged, and ends nothing else."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel

logger = logging.getLogger(__name__)


class Background:
    """Starts tasks in the engine's task group, each guarded: none of them can take the engine with it."""

    def __init__(self, group: anyio.abc.TaskGroup) -> None:
        self._group = group

    def start_soon(
        self, work: Callable[..., Awaitable[Any]], *arguments: Any, failed: Callable[[Exception], None] | None = None
    ) -> None:
        """Run `work(*arguments)` as a task; when it raises, that is logged and `failed` is told."""
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
    """Await `work(*arguments)`; an error of it is logged and returned: what comes next is to be done all the same."""
    try:
        await work(*arguments)
    except (KeyboardInterrupt, anyio.get_cancelled_exc_class()):
        raise
    except BaseException as error:  # noqa: BLE001 - the one place that lets a task fail without the engine
        # what is no Exception is stopped here too (SystemExit of a library, GeneratorExit, groups of them): in the task
        # group it would end every container's attendant
        log(error)
        await anyio.lowlevel.checkpoint_if_cancelled()  # a group may have held a cancellation that is still going on
        return error if isinstance(error, Exception) else RuntimeError(repr(error))
    return None


def log(error: BaseException) -> None:
    """Write an error that nobody waits for to the engine's log."""
    logger.error("a background task failed: %s", error, exc_info=error)
