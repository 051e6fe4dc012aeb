"""Waiting for a stack: until it is up (`--wait`), until services end (`wait`)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from compose.events import ContainerExited, StateChanged, work
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.plan.project import DesiredProject, ObservedContainer
    from compose.stack.context import Context


def wait_until_up(context: Context, project: DesiredProject, services: Sequence[str], timeout_s: int) -> None:
    """Block until services run or are healthy, and services that others need completed have exited.

    At most `timeout_s` seconds (0: no limit). Raises SkiffError when one fails, and when the time is over.
    """
    from compose.execute.conditions import wait_completed, wait_healthy
    from compose.plan.selection import select

    def report(name: str, state: str) -> None:
        context.emit(StateChanged("Container", name, state))

    completing = {
        other
        for service in project.services.values()
        for other, how in service.dependencies.items()
        if how.condition == "service_completed_successfully"
    }
    wanted = select(project, services)
    found = context.containers(project, wanted) if wanted else []
    staying = [container.name for container in found if container.service not in completing]
    with work(context.emit):
        for container in found:
            report(container.name, "Waiting")
        for container in found:
            if container.service in completing:
                wait_completed(context.client, container.name)
                report(container.name, "Exited")
        wait_healthy(context.client, staying, timeout_s=timeout_s or None, report=report)


def wait_for_exit(
    context: Context, project: DesiredProject, services: Sequence[str], *, only_first: bool = False
) -> int:
    """Block until the containers of `services` exited, or the first of them; return the last exit code.

    Raises SkiffError when none runs.
    """
    found = [container for container in context.containers(project, services) if container.is_alive]
    if not found:
        raise SkiffError("no containers to wait for", f"start them: `skiff up -d {' '.join(services)}`")
    codes: list[int] = []

    def wait(container: ObservedContainer) -> None:
        from runtime.client import Client

        codes.append(code := Client(context.where).wait(container.id))
        context.emit(ContainerExited(container.name, code))

    threads = [threading.Thread(target=wait, args=(container,), daemon=True) for container in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
        if only_first and codes:
            break
    return codes[-1] if codes else 1


def await_dependencies(context: Context, project: DesiredProject, service: str) -> None:
    """Wait until the dependencies of `service` meet its conditions. Raises SkiffError when something required fails."""
    from compose.execute.conditions import wait_completed, wait_healthy

    wanted = project.services[service].dependencies if service in project.services else {}
    for other, how in wanted.items():
        if how.condition == "service_started" or other not in project.services:
            continue
        names = [container.name for container in context.containers(project, [other])]
        try:
            if how.condition == "service_healthy":
                wait_healthy(context.client, names, needs_check=True)
            else:
                for name in names:
                    wait_completed(context.client, name)
        except SkiffError:
            if how.required:
                raise
