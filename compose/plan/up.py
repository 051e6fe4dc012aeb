"""The plan of `up`: operations that turn the engine's state into what the project says. Pure.

A worked plan. `web` depends on `db` (condition: service_healthy), which mounts the volume `data`; nothing exists yet.
Operations are planned in this order, and each runs as soon as those behind the arrow are done:

    network default                  CreateNetwork
    volume data                      CreateVolume
    create db 1      <- network default, volume data
    start db 1       <- create db 1
    created db       <- create db 1                    Milestone: other services may share its namespaces
    started db       <- start db 1                     Milestone
    await web db     <- started db                     Await: blocks until db is healthy
    create web 1     <- network default                not after db: creating takes time, being created costs nothing
    start web 1      <- create web 1, await web db

So containers of all services are created in parallel, and only starts wait. If `db` has changed and `web` has
`restart: true` for it, both exist already and the plan is

    stop web1                                          web must not run while its dependency is replaced
    recreate db 1    <- stop web1, network default, volume data
    start db 1       <- recreate db 1
    await web db     <- started db
    start web 1      <- stop web1, await web db

An arrow to an operation that is not in the plan ("network default" in the second one) is satisfied: the object exists.
That is why keys name moments ("created db") and services never look at each other's operations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from compose.plan.changes import why_recreate
from compose.plan.moving import NetworkPlan
from compose.plan.one_shots import is_done, needs
from compose.plan.operations import (
    Await,
    Create,
    CreateVolume,
    Milestone,
    Operation,
    Plan,
    PreStart,
    Recreate,
    Remove,
    RemoveVolume,
    Start,
    Stop,
)
from compose.plan.project import (
    DesiredProject,
    EngineState,
    ObservedContainer,
    container_name,
)
from compose.plan.selection import select
from compose.plan.service import Service
from compose.plan.sharing import donors, linked
from runtime.errors import SkiffError


@dataclass(frozen=True)
class UpOptions:
    """Options of `up` and `create`; volumes named by `recreate_volumes` (keys) are recreated, their data is lost.

    With `rerun` one-shots that are done run again.
    """

    services: Sequence[str] = ()
    with_dependencies: bool = True
    force_recreate: bool = False
    no_recreate: bool = False
    always_recreate_dependencies: bool = False
    start: bool = True
    remove_orphans: bool = False
    scale: Mapping[str, int] = field(default_factory=dict)
    renew_anonymous_volumes: bool = False
    recreate_networks: frozenset[str] = frozenset()
    recreate_volumes: frozenset[str] = frozenset()
    rerun: bool = False


def plan_up(target: DesiredProject, observed: EngineState, options: UpOptions) -> Plan:
    """Return the plan that brings the selected services up. Their images must be there."""
    names = select(target, options.services, with_dependencies=options.with_dependencies)
    planner = _Planner(target, observed, options)
    operations = [*planner.networks.operations(names), *planner.volumes(names)]
    for name in _ordered(target, names):
        operations += planner.service(name)
    if options.remove_orphans:
        operations += [
            _remove(container, "its service is no longer in the project") for container in orphans(target, observed)
        ]
    return Plan.of(planner.stopped_first(operations), planner.unchanged, planner.done)


def orphans(target: DesiredProject, observed: EngineState) -> list[ObservedContainer]:
    """Return containers of services that the project's files do not name, and one-offs that ended."""
    known = {*target.services, *target.disabled}
    return [
        container
        for container in observed.containers
        if (container.state in ("exited", "dead") if container.is_oneoff else container.service not in known)
    ]


def _remove(container: ObservedContainer, reason: str, after: frozenset[str] = frozenset()) -> Operation:
    return Operation(f"remove {container.id}", Remove(container.id), container.name, reason, container.service, after)


def _stop(container: ObservedContainer, reason: str) -> Operation:
    return Operation(f"stop {container.id}", Stop(container.id), container.name, reason, container.service)


def _ordered(target: DesiredProject, names: Sequence[str]) -> list[str]:
    """Return `names` with dependencies first."""
    done: list[str] = []
    waiting = set()

    def visit(name: str) -> None:
        if name in done or name in waiting or name not in names:
            return
        waiting.add(name)
        for other in target.services[name].dependencies:
            visit(other)
        done.append(name)

    for name in names:
        visit(name)
    return done


def _after_hooks(operations: Sequence[Operation], name: str) -> list[Operation]:
    """Return the operations of the service `name`, its `pre_start` hooks before the start of its first container."""
    numbers = [each.action.number for each in operations if isinstance(each.action, Start)]
    if not numbers:
        return list(operations)
    key = f"pre_start {name}"
    found: list[Operation] = []
    for operation in operations:
        if isinstance(operation.action, Start):
            if operation.action.number == min(numbers):
                hooks = replace(operation, key=key, action=PreStart(min(numbers)), reason="its hooks come first")
                found.append(hooks)
            operation = replace(operation, after=operation.after | {key})
        found.append(operation)
    return found


class _Planner:
    """Plans one service after the other, dependencies first: recreating one may affect those planned later."""

    def __init__(self, target: DesiredProject, observed: EngineState, options: UpOptions) -> None:
        self._target = target
        self._observed = observed
        self._options = options
        self._recreated: set[str] = set()
        self.networks = NetworkPlan(target, observed, options.recreate_networks)
        self._stopped: dict[str, set[str]] = {}
        """Keys of operations that stop a container, by the service whose recreation they come before."""
        self._fresh: set[str] = set()
        """Services that get a new container."""
        self.unchanged: list[str] = []
        self.done: dict[str, str] = {}

    # --- volumes

    def volumes(self, names: Sequence[str]) -> list[Operation]:
        """Return what creates the volumes of the services `names`; recreating one removes its containers first."""
        target, found = self._target, []
        wanted = set().union(*(target.services[name].volume_keys for name in names))
        used = set().union(*(service.volume_keys for service in target.services.values()))
        for key in target.section("volumes"):
            name = target.resource_name("volumes", key)
            # what no service uses is there only where the user asked for it, with --all-resources
            if (key in used and key not in wanted) or target.is_external("volumes", key):
                continue
            create = Operation(f"volume {key}", CreateVolume(key), name, "it is missing")
            if key in self._options.recreate_volumes:
                removals = [_remove(c, f"the volume {key} is recreated") for c in self._using_volume(key)]
                removal = Operation(
                    f"remove volume {key}",
                    RemoveVolume(must_go=True),
                    name,
                    "its configuration changed",
                    after=frozenset(each.key for each in removals),
                )
                found += [*removals, removal, replace(create, reason="it changed", after=frozenset({removal.key}))]
            elif name not in self._observed.volumes:
                found.append(create)
        return found

    def _using_volume(self, key: str) -> list[ObservedContainer]:
        return self._containers_of(service for service in self._target.services.values() if key in service.volume_keys)

    def _containers_of(self, services: Iterable[Service]) -> list[ObservedContainer]:
        return [container for service in services for container in self._observed.of_service(service.name)]

    # --- services

    def service(self, name: str) -> list[Operation]:
        """Return what brings the containers of one service up."""
        service = self._target.services[name]
        if service.provider:
            return []
        existing = self._observed.of_service(name)
        if service.volume_keys & self._options.recreate_volumes:
            existing = []  # they are removed together with the volume
            self._recreated.add(name)
        reasons = {container.id: self._why(name, container) for container in existing}
        wanted = self._replicas(service)
        # when fewer are wanted, containers that must be recreated are removed first, then those with the highest numbers
        kept = sorted(existing, key=lambda container: (reasons[container.id] is not None, container.number))
        operations = [_remove(container, "fewer replicas are wanted") for container in kept[wanted:]]
        kept = kept[:wanted]
        prerequisites = self._prerequisites(name)
        awaited = {f"await {name} {other}" for other in service.dependencies}
        created: set[str] = set()
        started: set[str] = set()

        def start(label: str, number: int, reason: str, after: set[str]) -> None:
            key = f"start {name} {number}"
            if self._options.start:
                started.add(key)
                operations.append(Operation(key, Start(number), label, reason, name, frozenset(after | awaited)))

        for container in kept:
            reason = reasons[container.id]
            if reason is not None:
                self._recreated.add(name)
                key = f"recreate {name} {container.number}"
                created.add(key)
                action = Recreate(container.id, container.number, not self._options.renew_anonymous_volumes)
                after = frozenset(prerequisites | self.networks.joins.get(container.id, set()))
                operations.append(Operation(key, action, container.name, reason, name, after))
                start(container.name, container.number, "recreated", {key})
            elif (other := self._restarts_with(name)) and container.state == "running":
                stop = _stop(container, f"it is restarted with {other}")
                self._stopped.setdefault(other, set()).add(stop.key)
                operations.append(stop)
                start(container.name, container.number, stop.reason, {stop.key})
            elif self._is_done(name, container):
                self.done[container.name] = name
            elif container.id in self.networks.joins:
                start(container.name, container.number, "its networks changed", self.networks.joins[container.id])
            elif container.state == "running":
                self.unchanged.append(container.name)
            elif container.state == "paused" and self._options.start:
                raise SkiffError(
                    f"container {container.name} is paused: it can't be started",
                    f"let it go on: `skiff unpause {name}`",
                )
            else:
                start(container.name, container.number, f"it is {container.state}", prerequisites)
        first = max((container.number for container in existing), default=0) + 1
        for number in range(first, first + wanted - len(kept)):
            key = f"create {name} {number}"
            created.add(key)
            label = container_name(self._target, name, number)
            operations.append(Operation(key, Create(number), label, "it is missing", name, frozenset(prerequisites)))
            start(label, number, "created", {key})
        if created:
            self._fresh.add(name)
        if service.pre_start and not any(container.name in (*self.unchanged, *self.done) for container in kept):
            operations = _after_hooks(operations, name)
        if created or started:
            operations += self._marks(name, created, started)
        # in topological order, so that Plan.of need not sort
        awaits = self._awaits(name) if started and self._options.with_dependencies else []
        return [*awaits, *operations]

    def _why(self, name: str, container: ObservedContainer) -> str | None:
        """Return the reason to recreate `container`, or None."""
        options = self._options
        if options.no_recreate:
            return None
        is_named = not options.services or name in options.services
        if options.force_recreate and is_named:
            return "forced"
        if options.always_recreate_dependencies and not is_named:
            return "forced for dependencies"
        reason = why_recreate(
            self._target,
            self._observed,
            name,
            container,
            recreated=self._recreated,
            moved=self.networks.moved,
            lost_volumes=options.recreate_volumes,
        )
        if reason is None and self._fresh and self._is_done(name, container):
            # what it did may be gone with what it depends on
            return next((f"{other} is new" for other in sorted(needs(self._target, name) & self._fresh)), None)
        return reason

    def _is_done(self, name: str, container: ObservedContainer) -> bool:
        """Whether `container` is a one-shot that need not run again: nobody asked for it, by flag or by name."""
        options = self._options
        return not options.rerun and name not in options.services and is_done(self._target, name, container)

    def _restarts_with(self, name: str) -> str:
        """Return a recreated service that `name` restarts with (depends_on, restart: true), or ""."""
        wanted = self._target.services[name].dependencies.items()
        return next((other for other, how in wanted if how.restart and other in self._recreated), "")

    def _prerequisites(self, name: str) -> set[str]:
        """Return the keys of what must be there before a container of the service is made."""
        service = self._target.services[name]
        return {
            *(f"network {key}" for key in service.network_keys),
            *(f"volume {key}" for key in service.volume_keys),
            *(f"created {other}" for other in donors(service) | linked(service)),
        }

    def _marks(self, name: str, created: set[str], started: set[str]) -> list[Operation]:
        """Return the milestones that other services wait for: all containers created, all started."""
        marks = [Operation(f"created {name}", Milestone(), name, "", name, frozenset(created))]
        if self._options.start:
            marks.append(Operation(f"started {name}", Milestone(), name, "", name, frozenset(started)))
        return marks

    def _awaits(self, name: str) -> list[Operation]:
        found = []
        for other, how in self._target.services[name].dependencies.items():
            # providers run before planning, so there is nothing to wait for
            service = self._target.services.get(other)
            if service is None or service.provider or self._replicas(service) == 0:
                continue
            found.append(
                Operation(
                    f"await {name} {other}",
                    Await(how.condition, name, how.required),
                    other,
                    f"{name} depends on it",
                    other,
                    frozenset({f"started {other}"}),
                )
            )
        return found

    def _replicas(self, service: Service) -> int:
        return self._options.scale.get(service.name, service.replicas)

    def stopped_first(self, operations: Sequence[Operation]) -> list[Operation]:
        """Return `operations` with each recreation after the stop of those that are restarted with the service."""
        return [
            replace(operation, after=operation.after | self._stopped[operation.service])
            if isinstance(operation.action, Recreate) and operation.service in self._stopped
            else operation
            for operation in operations
        ]
