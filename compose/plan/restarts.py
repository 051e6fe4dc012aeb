"""Which containers are restarted together, and in which order. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compose.plan.project import DEPENDS_ON, DesiredProject, ObservedContainer


def _wanted_by(container: ObservedContainer) -> Mapping[str, bool]:
    """Return the services that the container's label says it depends on, and whether it restarts with each."""
    entries = (entry.split(":") for entry in container.labels.get(DEPENDS_ON, "").split(",") if entry)
    return {entry[0]: entry[-1] == "true" for entry in entries}


def restarted_with(containers: Sequence[ObservedContainer], services: Sequence[str]) -> set[str]:
    """Return `services` and all that want to be restarted with them (depends_on, restart: true)."""
    found = set(services)
    while more := {
        container.service
        for container in containers
        if container.service not in found
        and any(restarts and other in found for other, restarts in _wanted_by(container).items())
    }:
        found |= more
    return found


def dependencies_first(target: DesiredProject, containers: Sequence[ObservedContainer]) -> list[ObservedContainer]:
    """Return `containers` in the order of their services' dependencies, those of the files and of their own labels."""
    order: dict[str, int] = {}
    wanted: dict[str, set[str]] = {}
    for container in containers:
        wanted.setdefault(container.service, set()).update(_wanted_by(container))
    for name, service in target.services.items():
        wanted.setdefault(name, set()).update(service.dependencies)

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in order or name in above:  # a cycle in the labels: any order will do
            return
        for other in sorted(wanted.get(name, ())):
            visit(other, (*above, name))
        order[name] = len(order)

    for name in wanted:
        visit(name, ())
    return sorted(containers, key=lambda container: (order[container.service], container.number))
