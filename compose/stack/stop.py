"""`stop`: containers end and stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compose.events import work
from compose.stack.checkouts import check_checkout

if TYPE_CHECKING:
    from compose.plan.project import DesiredProject, ObservedContainer
    from compose.stack.context import Context


@dataclass(frozen=True)
class StopRequest:
    """Which services to stop (none named: all), and the seconds until a container is killed (None: its own)."""

    services: Sequence[str] = ()
    timeout_s: int | None = None


def stop(context: Context, project: DesiredProject, request: StopRequest) -> None:
    """Stop containers, dependants first, then what providers run. Raises SkiffError."""
    from compose.stack.providers import stop_providers

    stop_containers(context, project, context.own_containers(project, request.services), request.timeout_s)
    stop_providers(context, project, request.services)


def stop_containers(
    context: Context, project: DesiredProject, containers: Sequence[ObservedContainer], timeout_s: int | None
) -> None:
    """Stop `containers`, dependants first. Raises SkiffError."""
    from compose.plan.down import plan_stop
    from compose.plan.operations import Plan
    from compose.plan.project import EngineState

    check_checkout(project, containers)
    observed = EngineState(containers)
    plan = Plan.of(plan_stop(observed, containers, remove=False))
    with work(context.emit):
        context.run(plan, context.executor(project, observed, stop_timeout_s=timeout_s))
