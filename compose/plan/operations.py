"""Operations and their order: a plan is a graph of what is done, why, and what must be done before. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from networkx import DiGraph


class Kind(Enum):
    """What an operation does, in the words that events use."""

    CREATE_NETWORK = "create network"
    REMOVE_NETWORK = "remove network"
    DISCONNECT = "disconnect"
    CONNECT = "connect"
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


class CreateNetwork(NamedTuple):
    """Create the network that the files call `network`."""

    network: str


class RemoveNetwork(NamedTuple):
    """Remove the network `id`; one that others still use stays, unless it `must_go`."""

    id: str
    must_go: bool = False


class Disconnect(NamedTuple):
    """Take container `id` off the network that the engine calls `network`."""

    id: str
    network: str


class Connect(NamedTuple):
    """Connect container `id` to the network that the files call `network`, as its service says."""

    id: str
    network: str


class CreateVolume(NamedTuple):
    """Create the volume that the files call `volume`."""

    volume: str


class RemoveVolume(NamedTuple):
    """Remove the operation's volume; one that others still use stays, unless it `must_go`."""

    must_go: bool = False


class RemoveImage(NamedTuple):
    """Remove the operation's image, unless something still uses it."""


class Pull(NamedTuple):
    """Pull the operation's image for its service; one that `may_fail` is worth a warning then, as it can be built."""

    may_fail: bool = False


class BuildImage(NamedTuple):
    """Build the operation's image as its service says; `unless_pulled`: where it has not been pulled before."""

    unless_pulled: bool = False


class Create(NamedTuple):
    """Create container number `number` of the service."""

    number: int


class Recreate(NamedTuple):
    """Replace container `id`, number `number` of the service; with `inherits_volumes` it keeps its anonymous volumes."""

    id: str
    number: int
    inherits_volumes: bool = True


class PreStart(NamedTuple):
    """Run the hooks that come before the start of the service, with the volumes of its container `number`."""

    number: int


class Start(NamedTuple):
    """Start container number `number` of the service."""

    number: int


class Stop(NamedTuple):
    """Stop container `id`; nothing to do where it does not run."""

    id: str
    is_running: bool = True


class Remove(NamedTuple):
    """Remove container `id`, which is stopped first if it runs."""

    id: str


class Await(NamedTuple):
    """Wait until the service meets `condition`, for the service `dependant`; one not `required` may fail to."""

    condition: str
    dependant: str
    required: bool = True


class Milestone(NamedTuple):
    """A moment that other operations wait for: all containers of the service created, or started. Nothing to do."""


Action = (
    CreateNetwork
    | RemoveNetwork
    | Disconnect
    | Connect
    | CreateVolume
    | RemoveVolume
    | RemoveImage
    | Pull
    | BuildImage
    | Create
    | Recreate
    | PreStart
    | Start
    | Stop
    | Remove
    | Await
    | Milestone
)
KINDS: Mapping[type[Action], Kind] = {
    CreateNetwork: Kind.CREATE_NETWORK,
    RemoveNetwork: Kind.REMOVE_NETWORK,
    Disconnect: Kind.DISCONNECT,
    Connect: Kind.CONNECT,
    CreateVolume: Kind.CREATE_VOLUME,
    RemoveVolume: Kind.REMOVE_VOLUME,
    RemoveImage: Kind.REMOVE_IMAGE,
    Pull: Kind.PULL,
    BuildImage: Kind.BUILD,
    Create: Kind.CREATE,
    Recreate: Kind.RECREATE,
    PreStart: Kind.AWAIT,
    Start: Kind.START,
    Stop: Kind.STOP,
    Remove: Kind.REMOVE,
    Await: Kind.AWAIT,
    Milestone: Kind.AWAIT,
}


@dataclass(frozen=True)
class Operation:
    """One step on one object.

    `key` names it in the plan; `after` are the keys of what must be done before. `name` is the object's name in the
    engine, `service` the service it is for, `reason` why it is done, for users.
    """

    key: str
    action: Action
    name: str
    reason: str
    service: str = ""
    after: frozenset[str] = frozenset()

    @property
    def kind(self) -> Kind:
        """What it does."""
        return KINDS[type(self.action)]


@dataclass(frozen=True)
class Plan:
    """Operations in topological order; those that do not depend on each other may run at the same time."""

    operations: tuple[Operation, ...] = ()
    unchanged: tuple[str, ...] = ()
    """Names of containers that already run as the project says."""
    done: Mapping[str, str] = field(default_factory=dict)
    """Containers that have done their work and need not run again: their services by name."""

    @classmethod
    def of(
        cls, operations: Iterable[Operation], unchanged: Iterable[str] = (), done: Mapping[str, str] | None = None
    ) -> Plan:
        """Return the plan of `operations`; `after` keys without an operation are ignored: that is done already.

        Raises ValueError for a cycle.
        """
        found = {operation.key: operation for operation in operations}
        if _is_ordered(found):
            # measured: importing networkx takes longer than most plans; it is for those that need sorting
            return cls(tuple(found.values()), tuple(unchanged), done or {})
        from networkx import topological_sort
        from networkx.exception import NetworkXUnfeasible

        try:
            return cls(tuple(found[key] for key in topological_sort(_graph(found))), tuple(unchanged), done or {})
        except NetworkXUnfeasible as error:
            raise ValueError("operations wait for each other in a cycle") from error

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
