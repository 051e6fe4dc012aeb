"""Runs a plan: independent operations in parallel, dependent ones in order; the first failure ends it."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import anyio.to_thread

from compose.plan.operations import Kind, Operation, Plan
from runtime.errors import first_error

PARALLEL = 32
CANCELLABLE = (Kind.AWAIT, Kind.PULL, Kind.BUILD)
"""Operations that may take long and leave nothing half made: a failure elsewhere, or Ctrl-C, abandons them."""


async def run_plan(plan: Plan, perform: Callable[[Operation], None], parallel: int = 0) -> None:
    """Run `perform(operation)` in a thread for each operation, once its predecessors are done.

    At most `parallel` operations run at once (0: no limit); those that only wait do not count. Raises what `perform`
    raises, after operations that change containers have finished; no further one starts.
    """
    done = {operation.key: anyio.Event() for operation in plan.operations}
    before = plan.predecessors()
    unlimited = anyio.CapacityLimiter(max(PARALLEL, len(plan.operations)))
    limited = anyio.CapacityLimiter(parallel) if parallel > 0 else unlimited

    async def run(operation: Operation) -> None:
        for key in before[operation.key]:
            await done[key].wait()
        limiter = unlimited if operation.kind is Kind.AWAIT else limited
        await anyio.to_thread.run_sync(
            perform, operation, limiter=limiter, abandon_on_cancel=operation.kind in CANCELLABLE
        )
        done[operation.key].set()

    async with anyio.create_task_group() as group:
        for operation in plan.operations:
            group.start_soon(run, operation)


def run(plan: Plan, perform: Callable[[Operation], None], parallel: int = 0) -> None:
    """Run the plan from synchronous code; the first failure is raised as it is."""
    if not plan.operations:
        return
    try:
        anyio.run(run_plan, plan, perform, parallel)
    except BaseExceptionGroup as group:
        raise first_error(group) from None
