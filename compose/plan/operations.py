"""Operations and their order: a plan is a graph that says what is done, why, and what comes before it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from networkx import DiGraph


class Kind(Enum):
    """What an operation does."""

    CREATE_NETWORK = "create network"
    REMOVE_NETWORK = "remove network"
    CREATE_VOLUME = "create volume"
    REMOVE_VOLUME = "remove volume"
    REMOVE_IMAGE = "remove image"
    PULL = "pull"
    BUILD = "build"
    CREATE = "create"
    RECREATE = "recreate"
    START = "start"
    STOP = "stop"
    REMOVE = "remove"
    AWAIT = "wait"


@dataclass(frozen=True)
class Operation:
    """One step on one object. `key` names it in the plan; `after` are the keys of what must be done before.

    `detail` carries what the executor needs beside: a container's ID and number, a dependency's condition.
    """

    key: str
    kind: Kind
    name: str
    reason: str
    service: str = ""
    after: frozenset[str] = frozenset()
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Operations in an order that could be run one by one; those that do not depend on each other may run at once."""

    operations: tuple[Operation, ...] = ()
    unchanged: tuple[str, ...] = ()
    """Names of containers that run already as they should."""

    @classmethod
    def of(cls, operations: Iterable[Operation], unchanged: Iterable[str] = ()) -> Plan:
        """Return the plan of `operations`; `after` keys that are no operation are dropped: that is done already.

        Raises ValueError when they wait for each other in a circle.
        """
        found = {operation.key: operation for operation in operations}
        if _is_ordered(found):
            # measured: importing networkx takes longer than most plans; it is for those that need sorting
            return cls(tuple(found.values()), tuple(unchanged))
        from networkx import topological_sort
        from networkx.exception import NetworkXUnfeasible

        try:
            return cls(tuple(found[key] for key in topological_sort(_graph(found))), tuple(unchanged))
        except NetworkXUnfeasible as error:
            raise ValueError("operations wait for each other in a circle") from error

    def predecessors(self) -> dict[str, frozenset[str]]:
        """Return for each operation the keys of those that it waits for."""
        keys = {operation.key for operation in self.operations}
        return {operation.key: operation.after & keys for operation in self.operations}


def _is_ordered(operations: Mapping[str, Operation]) -> bool:
    seen: set[str] = set()
    for key, operation in operations.items():
        seen.add(key)
        if any(before in operations and before not in seen for before in operation.after):
            return False
    return True


def _graph(operations: Mapping[str, Operation]) -> DiGraph[str]:
    from networkx import DiGraph

    graph: DiGraph[str] = DiGraph()
    graph.add_nodes_from(operations)
    graph.add_edges_from((before, key) for key, op in operations.items() for before in op.after if before in operations)
    return graph
