"""The plan of `down`, `stop` and `rm`: dependants before what they depend on. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compose.plan.operations import Operation, Plan, Remove, RemoveImage, RemoveNetwork, RemoveVolume, Stop
from compose.plan.project import (
    DEPENDS_ON,
    NETWORK,
    PROJECT,
    VOLUME,
    DesiredProject,
    EngineState,
    ObservedContainer,
    image_name,
    labelled,
)


def plan_stop(observed: EngineState, containers: Sequence[ObservedContainer], *, remove: bool) -> list[Operation]:
    """Return operations that stop (and remove) `containers`, each after those that depend on it.

    The order comes from the containers' own labels: the project's files may have changed, or be gone.
    """
    dependants: dict[str, set[str]] = {}
    for container in containers:
        for entry in filter(None, container.labels.get(DEPENDS_ON, "").split(",")):
            dependants.setdefault(entry.partition(":")[0], set()).add(container.service)
    operations = []
    for container in _dependants_first(containers, dependants):
        others = {
            f"stop {c.id}"
            for c in containers
            if c.service in dependants.get(container.service, ()) and c.id != container.id
        }
        stop = Operation(
            f"stop {container.id}",
            Stop(container.id, container.is_alive),
            container.name,
            "",
            container.service,
            frozenset(others),
        )
        operations.append(stop)
        if remove:
            operations.append(
                Operation(
                    f"remove {container.id}",
                    Remove(container.id),
                    container.name,
                    "",
                    container.service,
                    frozenset({stop.key}),
                )
            )
    return operations


def _dependants_first(
    containers: Sequence[ObservedContainer], dependants: Mapping[str, set[str]]
) -> list[ObservedContainer]:
    """Return `containers` sorted, each after those of services that depend on its own."""
    order: list[str] = []

    def visit(service: str, above: tuple[str, ...]) -> None:
        if service in order or service in above:  # a cycle in the labels: any order will do
            return
        for other in sorted(dependants.get(service, ())):
            visit(other, (*above, service))
        order.append(service)

    for container in containers:
        visit(container.service, ())
    return sorted(containers, key=lambda container: order.index(container.service))


def plan_down(
    target: DesiredProject,
    observed: EngineState,
    *,
    services: Sequence[str] = (),
    volumes: bool = False,
    images: str = "",
    remove_orphans: bool = False,
    has_files: bool = True,
) -> Plan:
    """Return the plan that takes the project down: containers, then networks, volumes and images if wanted.

    With files, only what they name is taken, one-offs and orphans if wanted; without (`has_files` false)
    everything that carries the project's label. Networks that others still use stay.
    """
    chosen = [c for c in observed.containers if remove_orphans or not c.is_oneoff]
    if services:
        chosen = [container for container in chosen if container.service in services]
    elif has_files and not remove_orphans:
        known = {*target.services, *target.disabled}
        chosen = [container for container in chosen if container.service in known]
    hooks = [hook for hook in observed.hooks if not services or hook.service in services]
    operations = plan_stop(observed, [*chosen, *hooks], remove=True)
    removed = frozenset(operation.key for operation in operations)
    for name in _owned(target, observed.networks, "networks", has_files):
        action = RemoveNetwork(observed.networks[name]["Id"])
        operations.append(Operation(f"network {name}", action, name, "", after=removed))
    if volumes:
        for name in _owned(target, observed.volumes, "volumes", has_files):
            operations.append(Operation(f"volume {name}", RemoveVolume(), name, "", after=removed))
    if images:
        operations += _images(target, observed, images, removed, services)
    return Plan.of(operations)


def _owned(target: DesiredProject, here: Mapping[str, Mapping[str, Any]], section: str, has_files: bool) -> list[str]:
    """Return the names of the project's own networks or volumes that are here."""
    label = {"networks": NETWORK, "volumes": VOLUME}[section]
    own = [name for name, one in here.items() if labelled(one, PROJECT) == target.name and labelled(one, label)]
    if not has_files:
        return own
    declared = {
        target.resource_name(section, key) for key in target.section(section) if not target.is_external(section, key)
    }
    return [name for name in own if name in declared]


def _images(
    target: DesiredProject, observed: EngineState, which: str, after: frozenset[str], services: Sequence[str]
) -> list[Operation]:
    names = [
        image_name(target, name)
        for name, service in target.services.items()
        if (not services or name in services)
        and service.provider is None
        and (which == "all" or (service.build and not service.image))
    ]
    return [
        Operation(f"image {name}", RemoveImage(), name, "", after=after)
        for name in dict.fromkeys(names)
        if name in observed.images
    ]
