"""One container: its configuration, its stored state, and what the engine keeps in memory for it.

The states, and what changes them (`lifecycle`, for the last line `remover`). Please keep this table up to date.

    from                          event                                   to
    (none)                        create                                  created
    created, exited, restarting   start                                   running
    restarting                    its delay has passed                    running
    running                       pause                                   paused
    paused                        unpause; stop, kill                     running
    running, paused               process exits, policy says restart      restarting
    running, paused               process exits otherwise                 exited
    restarting                    stop, or the restart fails              exited
    created, exited, restarting   remove, AutoRemove after an exit        removing, then (none)

Docker's state "dead" is never entered here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import anyio

from runtime.bodies import ContainerConfig, EndpointBody, HostConfig
from runtime.container.health import Health
from runtime.container.logs.reader import LogReader
from runtime.container.logs.writer import LogWriter
from runtime.container.restart import RestartPolicy
from runtime.container.spec import environment_of
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
"""Exit code of a process whose exit status is not known."""
NEVER = "0001-01-01T00:00:00Z"


@dataclass
class ContainerState:
    """The stored part of a container that changes; times are RFC 3339."""

    status: str = CREATED
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at: str = NEVER
    finished_at: str = NEVER
    restart_count: int = 0
    stopped_by_user: bool = False
    pid: int = 0

    @property
    def was_started(self) -> bool:
        """Whether it runs or ever ran."""
        return self.started_at != NEVER


def unknown_state(created: str) -> ContainerState:
    """Return a state for a container whose stored state is damaged: it may have run, so its restart policy applies."""
    return ContainerState(
        status=EXITED, exit_code=UNKNOWN_EXIT, error="its last state could not be read", started_at=created
    )


@dataclass
class Container:
    """A container; `config` (merged with the image's) and `host` (HostConfig) have the Engine API's field names."""

    id: str
    name: str
    image_id: str
    image_name: str
    created: str
    config: ContainerConfig
    host: HostConfig
    networks: dict[str, EndpointBody]
    mounts: list[dict[str, Any]]
    ports: list[dict[str, Any]] = field(default_factory=list)
    state: ContainerState = field(default_factory=ContainerState)
    # the following is not stored
    process: ProcessHandle | None = None
    log: LogWriter | None = None
    readers: set[LogReader] = field(default_factory=set)
    """Active readers of its log: rotated segments stay open until they have read them."""
    health: Health | None = None
    changed: anyio.Event = field(default_factory=anyio.Event)
    written: anyio.Event = field(default_factory=anyio.Event)
    read: anyio.Event = field(default_factory=anyio.Event)
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    stdin_lock: anyio.Lock = field(default_factory=anyio.Lock)
    """Held while writing to the process's standard input."""
    process_scope: anyio.CancelScope | None = None
    """Contains the tasks that watch the process."""
    drained: anyio.Event = field(default_factory=anyio.Event)
    exec_ids: list[str] = field(default_factory=list)
    exits: int = 0
    """The number of exits, so that a waiter does not miss one if the container is restarted at once."""
    restart_delay_s: float = 0.0
    has_reported_oom: bool = False
    """Whether "oom" was emitted since the last start."""
    keep_after_exit: bool = False
    """Set during a restart, so that AutoRemove does not remove it."""
    is_stopped_by_shutdown: bool = False
    """Whether it is stopped since the machine shuts down: its restart policy applies when the next engine starts."""
    is_restarted: bool = False
    """Set during a restart by the user, in which it is shown as running, as in Docker."""

    @property
    def is_running(self) -> bool:
        """Whether it has a process (running or paused)."""
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
    def environment(self) -> dict[str, str]:
        """Its environment variables."""
        return environment_of(self.config)

    @property
    def log_fields(self) -> dict[str, str]:
        """What the template of its log's tag may name."""
        return {
            "ID": self.id[:12],
            "FullID": self.id,
            "Name": self.name,
            "ImageID": self.image_id.removeprefix("sha256:")[:12],
            "ImageFullID": self.image_id,
            "ImageName": self.image_name,
            "DaemonName": "docker",
        }

    @property
    def policy(self) -> RestartPolicy:
        """Its restart policy."""
        policy = self.host.get("RestartPolicy") or {}
        return RestartPolicy(policy.get("Name") or "no", policy.get("MaximumRetryCount") or 0)

    def definition(self) -> dict[str, Any]:
        """Return what is stored of a new container."""
        kept = ("id", "name", "image_id", "image_name", "created", "config", "host", "networks", "mounts")
        return {key: getattr(self, key) for key in kept}

    def document(self, state: ContainerState | None = None) -> dict[str, Any]:
        """Return what is stored, with `state` instead of the container's if given."""
        return {**self.definition(), "ports": self.ports, "state": asdict(state or self.state)}

    @classmethod
    def of(cls, document: dict[str, Any]) -> Container:
        """Return the container of a stored document."""
        state = document.get("state", {})
        if state is None:
            known = unknown_state(document["created"])
        else:
            known = ContainerState(**{key: state[key] for key in ContainerState.__dataclass_fields__ if key in state})
        return cls(**{**document, "state": known})

    def notify(self) -> None:
        """Wake the tasks that wait for a change of state."""
        self.changed.set()
        self.changed = anyio.Event()

    def notify_log(self) -> None:
        """Wake the tasks that follow the log."""
        self.written.set()
        self.written = anyio.Event()

    def notify_read(self) -> None:
        """Wake the tasks that wait until the log has been read."""
        self.read.set()
        self.read = anyio.Event()
