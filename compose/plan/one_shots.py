"""Services that run once: another one waits for their end (`condition: service_completed_successfully`). Pure."""

from __future__ import annotations

from compose.plan.inputs import reads_folders
from compose.plan.project import DesiredProject, ObservedContainer


def is_done(target: DesiredProject, name: str, container: ObservedContainer) -> bool:
    """Whether `container` of the service `name` is a one-shot that succeeded, and would do the same if it ran again.

    One that mounts a folder of the host runs each time: what is in there may have changed, and nobody compares it.
    """
    service = target.services[name]
    return (
        container.exit_code == 0
        and service.restart_policy.name in ("", "no", "on-failure")
        and is_awaited(target, name)
        and not reads_folders(service.mounts)
    )


def is_awaited(target: DesiredProject, name: str) -> bool:
    """Whether a service waits until the service `name` has completed."""
    return any(
        how.condition == "service_completed_successfully"
        for service in target.services.values()
        for other, how in service.dependencies.items()
        if other == name
    )


def needs(target: DesiredProject, name: str) -> set[str]:
    """Return all services that the service `name` depends on, over others, too."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for other in target.services[waiting.pop()].dependencies:
            if other in target.services and other not in found:
                found.add(other)
                waiting.append(other)
    return found
