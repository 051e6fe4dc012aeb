"""Networks in the plan of `up`: created, recreated, renamed, and the containers that are moved to them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from compose.plan.operations import Connect, CreateNetwork, Disconnect, Operation, RemoveNetwork, Stop
from compose.plan.project import DesiredProject, EngineState
from compose.plan.resources import former_network


class NetworkPlan:
    """Plans the networks of services; containers that are moved stay what they are, with all that is in them."""

    def __init__(self, target: DesiredProject, observed: EngineState, changed: Collection[str]) -> None:
        self._target = target
        self._observed = observed
        self._changed = changed
        self._stops: dict[str, Operation] = {}
        self.moved: set[str] = set()
        """Keys of networks that containers are moved to."""
        self.joins: dict[str, set[str]] = {}
        """By ID of each container that is moved, the keys of the operations that connect it."""

    def operations(self, names: Sequence[str]) -> list[Operation]:
        """Return what makes the networks of the services `names`."""
        target = self._target
        found: list[Operation] = []
        wanted = set().union(*(target.services[name].network_keys for name in names))
        used = set().union(*(service.network_keys for service in target.services.values()))
        for key in target.section("networks"):
            name = target.resource_name("networks", key)
            # what no service uses is there only where the user asked for it, with --all-resources
            if (key in used and key not in wanted) or target.is_external("networks", key):
                continue
            create = Operation(f"network {key}", CreateNetwork(key), name, "it is missing")
            if key in self._changed:
                found += self._move(key, create, name, is_renamed=False)
            elif name not in self._observed.networks:
                former = former_network(target, self._observed, key)
                found += self._move(key, create, former, is_renamed=True) if former else [create]
        return found

    def _move(self, key: str, create: Operation, former: str, *, is_renamed: bool) -> list[Operation]:
        """Return what takes the containers of the network `former` over to the one that `create` makes."""
        self.moved.add(key)
        reason = "it was renamed" if is_renamed else "it changed"
        leaves: list[Operation] = []
        joins: list[Operation] = []
        for service in self._target.services.values():
            if key not in service.network_keys:
                continue
            for container in self._observed.of_service(service.name):
                id, name = container.id, container.name
                after: frozenset[str] = frozenset()
                if container.is_alive:
                    if id not in self._stops:
                        stop = Operation(f"stop {id}", Stop(id), name, f"the network {key} changed", service.name)
                        self._stops[id] = stop
                        leaves.append(stop)
                    after = frozenset({self._stops[id].key})
                leave = Operation(f"disconnect {id} {key}", Disconnect(id, former), name, reason, service.name, after)
                leaves.append(leave)
                after = frozenset({create.key, leave.key})
                join = Operation(f"connect {id} {key}", Connect(id, key), name, reason, service.name, after)
                joins.append(join)
                self.joins.setdefault(id, set()).add(join.key)
        removal = Operation(
            f"remove network {key}",
            RemoveNetwork(self._observed.networks[former]["Id"], must_go=not is_renamed),
            former,
            reason,
            after=frozenset(leave.key for leave in leaves),
        )
        create = replace(create, reason=reason)
        if is_renamed:  # the new one can be created next to it, and others may still use the old one
            return [create, *leaves, *joins, removal]
        return [*leaves, removal, replace(create, after=frozenset({removal.key})), *joins]
