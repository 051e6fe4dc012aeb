"""What is known of one container: its configuration, its state, and what lives with it in the engine."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import anyio

from runtime.container.health import Health
from runtime.container.logs.reader import LogReader
from runtime.container.logs.writer import LogWriter
from runtime.container.restart import RestartPolicy
from runtime.keeper.handles import ProcessHandle

CREATED, RUNNING, PAUSED, RESTARTING, REMOVING, EXITED, DEAD = (
    "created",
    "running",
    "paused",
    "restarting",
    "removing",
    "exited",
    "dead",
)
UNKNOWN_EXIT = 255
"""Exit code of what ended when nobody looked."""
NEVER = "0001-01-01T00:00:00Z"


@dataclass
class ContainerState:
    """The part of a container that changes, as the store keeps it; times are RFC 3339."""

    status: str = CREATED
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at: str = NEVER
    finished_at: str = NEVER
    restart_count: int = 0
    stopped_by_user: bool = False
    pid: int = 0


def unknown_state(created: str) -> ContainerState:
    """Return the state of a container whose record of it can't be read: it may have run, so its restart policy counts."""
    return ContainerState(
        status=EXITED, exit_code=UNKNOWN_EXIT, error="its last state could not be read", started_at=created
    )


@dataclass
class Container:
    """A container: `config` and `host` in the Docker Engine API's field names, merged with the image's defaults."""

    id: str
    name: str
    image_id: str
    image_name: str
    created: str
    config: dict[str, Any]
    host: dict[str, Any]
    networks: dict[str, dict[str, Any]]
    mounts: list[dict[str, Any]]
    ports: list[dict[str, Any]] = field(default_factory=list)
    state: ContainerState = field(default_factory=ContainerState)
    # what follows lives with the engine, not in the store
    process: ProcessHandle | None = None
    log: LogWriter | None = None
    readers: set[LogReader] = field(default_factory=set)
    """Who reads its log now: what the log drops may be held for them."""
    health: Health | None = None
    changed: anyio.Event = field(default_factory=anyio.Event)
    written: anyio.Event = field(default_factory=anyio.Event)
    read: anyio.Event = field(default_factory=anyio.Event)
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    typing: anyio.Lock = field(default_factory=anyio.Lock)
    """Held by who gives its process input."""
    scope: anyio.CancelScope | None = None
    drained: anyio.Event = field(default_factory=anyio.Event)
    exec_ids: list[str] = field(default_factory=list)
    exits: int = 0
    """How often its process has ended: who waits for an end misses none, however short the next run is."""
    restart_delay_s: float = 0.0
    has_told_oom: bool = False
    """Whether it was told that this run of it was out of memory."""
    stays: bool = False
    """Whether its end is not the end of it, even with AutoRemove: it is about to be started again."""
    is_ended_with_engine: bool = False
    """Whether it is stopped because the machine goes down: its policy counts when the next engine starts."""
    is_restarted: bool = False
    """Whether it is stopped and started again by hand: as with Docker it counts as running all the while."""

    @property
    def is_running(self) -> bool:
        """Whether it has a process."""
        return self.state.status in (RUNNING, PAUSED)

    @property
    def tty(self) -> bool:
        """Whether its process has a terminal."""
        return bool(self.config.get("Tty"))

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return self.config.get("Labels") or {}

    @property
    def policy(self) -> RestartPolicy:
        """When it is started again."""
        policy = self.host.get("RestartPolicy") or {}
        return RestartPolicy(policy.get("Name") or "no", policy.get("MaximumRetryCount") or 0)

    def definition(self) -> dict[str, Any]:
        """Return what the store keeps of a new container."""
        kept = ("id", "name", "image_id", "image_name", "created", "config", "host", "networks", "mounts")
        return {key: getattr(self, key) for key in kept}

    def document(self, state: ContainerState | None = None) -> dict[str, Any]:
        """Return what the store keeps; with `state` in place of the container's."""
        return {**self.definition(), "ports": self.ports, "state": asdict(state or self.state)}

    @classmethod
    def of(cls, document: dict[str, Any]) -> Container:
        """Return the container that the store kept."""
        state = document.get("state", {})
        known = ContainerState(**state) if state is not None else unknown_state(document["created"])
        return cls(**{**document, "state": known})

    def notify(self) -> None:
        """Wake who waits for a change of state."""
        self.changed.set()
        self.changed = anyio.Event()

    def notify_log(self) -> None:
        """Wake who follows the log."""
        self.written.set()
        self.written = anyio.Event()

    def notify_read(self) -> None:
        """Wake who waits until somebody has read the log."""
        self.read.set()
        self.read = anyio.Event()
