"""The plan of `down`, `stop` and `rm`: dependants before what they depend on. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compose.plan.operations import Kind, Operation, Plan
from compose.plan.project import DEPENDS_ON, NETWORK, VOLUME, Existing, Observed, Target


def plan_stop(observed: Observed, containers: Sequence[Existing], *, remove: bool) -> list[Operation]:
    """Return what stops (and removes) `containers`, each after those that depend on it.

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
            f"stop {container.id}", Kind.STOP, container.name, "", container.service, frozenset(others),
            {"id": container.id, "is_running": container.state in ("running", "restarting", "paused")},
        )  # fmt: skip
        operations.append(stop)
        if remove:
            operations.append(
                Operation(
                    f"remove {container.id}",
                    Kind.REMOVE,
                    container.name,
                    "",
                    container.service,
                    frozenset({stop.key}),
                    {"id": container.id},
                )  # fmt: skip
            )
    return operations


def _dependants_first(containers: Sequence[Existing], dependants: Mapping[str, set[str]]) -> list[Existing]:
    """Return `containers` with each behind those of the services that depend on its own."""
    order: list[str] = []

    def visit(service: str, above: tuple[str, ...]) -> None:
        if service in order or service in above:  # a circle of labels: any order will do
            return
        for other in sorted(dependants.get(service, ())):
            visit(other, (*above, service))
        order.append(service)

    for container in containers:
        visit(container.service, ())
    return sorted(containers, key=lambda container: order.index(container.service))


def plan_down(
    target: Target,
    observed: Observed,
    *,
    services: Sequence[str] = (),
    volumes: bool = False,
    images: str = "",
    remove_orphans: bool = False,
    has_files: bool = True,
) -> Plan:
    """Return what takes the project down: containers, then networks, volumes and images where that is wanted.

    Without files (`has_files` false) everything that carries the project's label is taken.
    """
    chosen = list(observed.containers)
    if services:
        chosen = [container for container in chosen if container.service in services]
    elif has_files and not remove_orphans:
        known = {*target.services, *(target.model.get("disabled") or ())}
        chosen = [container for container in chosen if container.service in known or container.is_oneoff]
    operations = plan_stop(observed, chosen, remove=True)
    removed = frozenset(operation.key for operation in operations)
    if not services:
        operations += _networks(target, observed, removed)
        if volumes:
            operations += _volumes(target, observed, removed)
    if images:
        operations += _images(target, observed, images, removed, services)
    return Plan.of(operations)


def _networks(target: Target, observed: Observed, after: frozenset[str]) -> list[Operation]:
    return [
        Operation(f"network {name}", Kind.REMOVE_NETWORK, name, "", after=after, detail={"id": network["Id"]})
        for name, network in observed.networks.items()
        if NETWORK in (network.get("Labels") or {}) and not _external(target, "networks", name)
    ]


def _volumes(target: Target, observed: Observed, after: frozenset[str]) -> list[Operation]:
    return [
        Operation(f"volume {name}", Kind.REMOVE_VOLUME, name, "", after=after)
        for name, volume in observed.volumes.items()
        if VOLUME in (volume.get("Labels") or {}) and not _external(target, "volumes", name)
    ]


def _external(target: Target, kind: str, name: str) -> bool:
    return any(
        (declared or {}).get("external") and ((declared or {}).get("name") or key) == name
        for key, declared in (target.model.get(kind) or {}).items()
    )


def _images(
    target: Target, observed: Observed, which: str, after: frozenset[str], services: Sequence[str]
) -> list[Operation]:
    names = []
    for name, service in target.services.items():
        if services and name not in services:
            continue
        if which == "all":
            names.append(service.get("image") or f"{target.name}-{name}")
        elif service.get("build") and not service.get("image"):
            names.append(f"{target.name}-{name}")
    return [
        Operation(f"image {name}", Kind.REMOVE_IMAGE, name, "", after=after)
        for name in dict.fromkeys(names)
        if name in observed.images
    ]
