"""Restarting one container of a service, its hooks included."""

from __future__ import annotations

from collections.abc import Callable

from compose.execute.hooks import POST_START, PRE_STOP, run_hooks
from compose.plan.project import DesiredProject, ObservedContainer
from runtime.client import Client


def restart(
    client: Client,
    target: DesiredProject,
    container: ObservedContainer,
    timeout_s: int | None,
    report: Callable[[str], None],
) -> None:
    """Restart `container`; `report` gets the lines that the hooks of its service print. Raises SkiffError."""
    service = target.services.get(container.service)

    def run(phase: str) -> None:
        run_hooks(
            client,
            service.hooks(phase) if service else (),
            phase,
            container.id,
            container.name,
            lambda line: report(f" {container.name} {phase} | {line}"),
        )

    if container.state == "running":
        run(PRE_STOP)
    client.restart(container.id, timeout_s)
    run(POST_START)
