"""The plan of `up`: from what is to what the project says. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from compose.plan.container_body import network_name
from compose.plan.content import service_hash
from compose.plan.operations import Kind, Operation, Plan
from compose.plan.project import (
    CONFIG_HASH,
    IMAGE,
    Existing,
    Observed,
    Target,
    container_name,
    dependencies,
    image_name,
    replicas,
)
from compose.plan.selection import select


@dataclass(frozen=True)
class UpOptions:
    """What `up` and `create` may be told."""

    services: Sequence[str] = ()
    with_dependencies: bool = True
    force_recreate: bool = False
    no_recreate: bool = False
    always_recreate_dependencies: bool = False
    build: bool = False
    no_build: bool = False
    pull: str = ""
    start: bool = True
    remove_orphans: bool = False
    scale: Mapping[str, int] = field(default_factory=dict)
    renew_anonymous_volumes: bool = False
    stop_timeout_s: int | None = None


RUNNING = ("running",)
SHARED = ("network_mode", "ipc", "pid")


def plan_up(target: Target, observed: Observed, options: UpOptions) -> Plan:
    """Return what brings the selected services up; nothing for what runs as it should."""
    names = select(target, options.services, with_dependencies=options.with_dependencies)
    operations: list[Operation] = []
    unchanged: list[str] = []
    operations += _images(target, observed, options, names)
    operations += _networks(target, observed, names)
    operations += _volumes(target, observed, names)
    recreated: set[str] = set()
    for name in _ordered(target, names):
        operations += _service(target, observed, options, name, recreated, unchanged)
    if options.remove_orphans:
        operations += [
            Operation(
                f"remove {c.id}",
                Kind.REMOVE,
                c.name,
                "its service is no longer in the project",
                c.service,
                detail={"id": c.id},
            )
            for c in orphans(target, observed)
        ]
    return Plan.of(operations, unchanged)


def orphans(target: Target, observed: Observed) -> list[Existing]:
    """Return the project's containers whose service is not in its files (any more)."""
    known = set(target.services) | set(target.model.get("disabled") or ())
    return [
        container for container in observed.containers if container.service not in known and not container.is_oneoff
    ]


def _ordered(target: Target, names: Sequence[str]) -> list[str]:
    """Return `names` with dependencies first."""
    done: list[str] = []
    waiting = set()

    def visit(name: str) -> None:
        if name in done or name in waiting or name not in names:
            return
        waiting.add(name)
        for other in dependencies(target.services[name]):
            visit(other)
        done.append(name)

    for name in names:
        visit(name)
    return done


def _images(target: Target, observed: Observed, options: UpOptions, names: Sequence[str]) -> list[Operation]:
    found: dict[str, Operation] = {}
    for name in names:
        service = target.services[name]
        image = image_name(target, name)
        is_here = image in observed.images
        policy = options.pull or service.get("pull_policy") or ""
        if service.get("provider") or image in found:
            continue
        if service.get("build") and not options.no_build and (options.build or policy == "build" or not is_here):
            reason = "asked for" if options.build or policy == "build" else "the image is missing"
            found[image] = Operation(f"image {image}", Kind.BUILD, image, reason, name)
        elif not service.get("build") or policy == "always":
            wanted = policy == "always" or (not is_here and policy != "never")
            if wanted and not image.startswith("rootfs:"):
                reason = "pull policy" if policy == "always" else "the image is missing"
                found[image] = Operation(f"image {image}", Kind.PULL, image, reason, name)
    # an image that another service builds is made before those that are built on it (additional contexts)
    for image, operation in list(found.items()):
        build = target.services[operation.service].get("build") or {}
        bases = [c[8:] for c in (build.get("additional_contexts") or {}).values() if str(c).startswith("service:")]
        after = frozenset(f"image {image_name(target, base)}" for base in bases if base in target.services)
        if after:
            found[image] = Operation(
                operation.key, operation.kind, operation.name, operation.reason, operation.service, after
            )
    return list(found.values())


def _networks(target: Target, observed: Observed, names: Sequence[str]) -> list[Operation]:
    wanted = {key for name in names for key in target.services[name].get("networks") or {}}
    found = []
    for key in target.model.get("networks") or {}:
        declared = target.model["networks"][key] or {}
        name = network_name(target, key)
        if key in wanted and not declared.get("external") and name not in observed.networks:
            found.append(Operation(f"network {key}", Kind.CREATE_NETWORK, name, "it is missing", detail={"key": key}))
    return found


def _volumes(target: Target, observed: Observed, names: Sequence[str]) -> list[Operation]:
    wanted = {
        volume.get("source")
        for name in names
        for volume in target.services[name].get("volumes") or ()
        if volume.get("type") == "volume"
    }
    found = []
    for key, declared in (target.model.get("volumes") or {}).items():
        name = (declared or {}).get("name") or f"{target.name}_{key}"
        if key in wanted and not (declared or {}).get("external") and name not in observed.volumes:
            found.append(Operation(f"volume {key}", Kind.CREATE_VOLUME, name, "it is missing", detail={"key": key}))
    return found


def _why_recreate(
    target: Target, observed: Observed, options: UpOptions, name: str, container: Existing, recreated: set[str]
) -> str | None:
    """Return the reason for which `container` can't stay, or None."""
    service = target.services[name]
    if options.no_recreate:
        return None
    if options.force_recreate and (
        not options.services or name in options.services or options.always_recreate_dependencies
    ):
        return "forced"
    if options.always_recreate_dependencies and options.services and name not in options.services:
        return "forced for dependencies"
    if container.labels.get(CONFIG_HASH) != service_hash(target, name):
        return "its configuration changed"
    image = observed.images.get(image_name(target, name))
    if image is not None and container.labels.get(IMAGE) not in ("", None, image):
        return "its image changed"
    for key in SHARED:
        mode = service.get(key) or ""
        if mode.startswith("service:") and mode[8:] in recreated:
            return f"it shares {key} with {mode[8:]}, which is recreated"
    return None


def _service(
    target: Target,
    observed: Observed,
    options: UpOptions,
    name: str,
    recreated: set[str],
    unchanged: list[str],
) -> list[Operation]:
    service = target.services[name]
    if service.get("provider"):
        return []
    wanted = replicas(service, options.scale.get(name))
    existing = observed.of_service(name)
    operations: list[Operation] = []
    prerequisites = {f"image {image_name(target, name)}"}
    prerequisites |= {f"network {key}" for key in service.get("networks") or {}}
    prerequisites |= {
        f"volume {v['source']}" for v in service.get("volumes") or () if v.get("type") == "volume" and v.get("source")
    }
    sharing = [str(service.get(key))[8:] for key in SHARED if str(service.get(key) or "").startswith("service:")]
    sharing += [
        entry.partition(":")[0] for entry in service.get("volumes_from") or () if not entry.startswith("container:")
    ]
    prerequisites |= {f"created {other}" for other in sharing}
    awaited = {f"await {name} {other}" for other in dependencies(service)}
    will_build = any(service.get("build") and (options.build or service.get("pull_policy") == "build") for _ in (0,))
    surplus = existing[wanted:]
    kept = existing[:wanted]
    for container in surplus:
        operations.append(
            Operation(
                f"remove {container.id}",
                Kind.REMOVE,
                container.name,
                "fewer replicas are wanted",
                name,
                detail={"id": container.id},
            )
        )
    numbers = [container.number for container in kept]
    created_keys: set[str] = set()
    started_keys: set[str] = set()

    def start(key: str, label: str, reason: str, after: set[str], **detail: object) -> None:
        if options.start:
            started_keys.add(key)
            operations.append(Operation(key, Kind.START, label, reason, name, frozenset(after | awaited), dict(detail)))

    for container in kept:
        reason = _why_recreate(target, observed, options, name, container, recreated)
        if reason is not None or will_build:
            # whether a build gives another image is known only after it: the executor compares, and may keep it
            recreated.add(name)
            key = f"recreate {name} {container.number}"
            created_keys.add(key)
            detail = {"id": container.id, "number": container.number, "only_if_image_changed": reason is None}
            operations.append(
                Operation(
                    key,
                    Kind.RECREATE,
                    container.name,
                    reason or "its image may change",
                    name,
                    frozenset(prerequisites),
                    detail,
                )
            )
            start(f"start {name} {container.number}", container.name, "recreated", {key}, number=container.number)
        elif container.state in RUNNING:
            unchanged.append(container.name)
        else:
            start(
                f"start {name} {container.number}",
                container.name,
                f"it is {container.state}",
                set(prerequisites),
                id=container.id,
                number=container.number,
            )
    number = 1
    for _ in range(wanted - len(kept)):
        while number in numbers:
            number += 1
        numbers.append(number)
        key = f"create {name} {number}"
        created_keys.add(key)
        label = container_name(target, name, number)
        operations.append(
            Operation(key, Kind.CREATE, label, "it is missing", name, frozenset(prerequisites), {"number": number})
        )
        start(f"start {name} {number}", label, "created", {key}, number=number)
    operations.append(
        Operation(f"created {name}", Kind.AWAIT, name, "", name, frozenset(created_keys), {"condition": "created"})
    )
    if options.start:
        operations.append(
            Operation(f"started {name}", Kind.AWAIT, name, "", name, frozenset(started_keys), {"condition": "started"})
        )
        if started_keys:
            operations += _awaits(target, options, name)
    if not created_keys and not started_keys:
        return [operation for operation in operations if operation.kind is not Kind.AWAIT]
    return operations


def _awaits(target: Target, options: UpOptions, name: str) -> list[Operation]:
    found = []
    for other, how in dependencies(target.services[name]).items():
        if other not in target.services or not options.with_dependencies:
            continue
        condition = how.get("condition") or "service_started"
        detail = {"condition": condition, "required": how.get("required", True), "dependant": name}
        found.append(
            Operation(
                f"await {name} {other}",
                Kind.AWAIT,
                other,
                f"{name} depends on it",
                other,
                frozenset({f"started {other}"}),
                detail,
            )  # fmt: skip
        )
    return found
