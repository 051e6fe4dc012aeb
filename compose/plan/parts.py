"""Parts of a service, typed: what the nested mappings of the canonical model say. Pure.

Each `of` takes one mapping as the loader writes it (short forms are long by then, sizes are whole numbers of bytes in
text). NamedTuples, as defining a dataclass takes six times as long, and every command that plans defines all of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from compose.plan.values import duration_ns, nano_cpus, whole

Section = Mapping[str, Any]


class Dependency(NamedTuple):
    """How a service depends on another (`depends_on`)."""

    condition: str = "service_started"
    restart: bool = False
    required: bool = True

    @classmethod
    def of(cls, document: Section | None) -> Dependency:
        """Return the typed form."""
        given = document or {}
        condition = given.get("condition") or "service_started"
        return cls(condition, bool(given.get("restart")), bool(given.get("required", True)))


class Port(NamedTuple):
    """A port of the container; `published` is the host's ("": none, or one that the engine chooses)."""

    target: str
    published: str = ""
    host_ip: str = ""
    protocol: str = "tcp"
    mode: str = ""

    @classmethod
    def of(cls, document: Section) -> Port:
        """Return the typed form."""
        published = document.get("published")
        return cls(
            str(document["target"]),
            "" if published in (None, 0) else str(published),
            document.get("host_ip") or "",
            document.get("protocol") or "tcp",
            document.get("mode") or "",
        )

    @property
    def key(self) -> str:
        """Its name in the Docker Engine API: "80/tcp"."""
        return f"{self.target}/{self.protocol}"


class Mount(NamedTuple):
    """An entry of `volumes`. Options that other types of mounts have are at their defaults."""

    type: str
    source: str
    target: str
    read_only: bool = False
    propagation: str = ""
    creates_host_path: bool = True
    recursive: str = ""
    no_copy: bool = False
    subpath: str = ""
    labels: Mapping[str, str] | None = None
    size_bytes: int = 0
    mode: int = 0

    @classmethod
    def of(cls, document: Section) -> Mount:
        """Return the typed form."""
        kind = document.get("type") or "volume"
        bind, volume = document.get("bind") or {}, document.get("volume") or {}
        tmpfs, image = document.get("tmpfs") or {}, document.get("image") or {}
        return cls(
            kind,
            document.get("source") or "",
            document["target"],
            bool(document.get("read_only")),
            bind.get("propagation") or "",
            bind.get("create_host_path", True) is not False,
            bind.get("recursive") or "",
            bool(volume.get("nocopy")),
            (image if kind == "image" else volume).get("subpath") or "",
            volume.get("labels"),
            whole(tmpfs.get("size")),
            whole(tmpfs.get("mode")),
        )


class NetworkUse(NamedTuple):
    """How a service is connected to one network."""

    aliases: Sequence[str] = ()
    priority: int = 0
    gateway_priority: int = 0
    ipv4_address: str = ""
    ipv6_address: str = ""
    link_local_ips: Sequence[str] | None = None
    mac_address: str = ""
    driver_options: Mapping[str, str] | None = None
    interface_name: str = ""

    @classmethod
    def of(cls, document: Section | None) -> NetworkUse:
        """Return the typed form."""
        given = document or {}
        return cls(
            given.get("aliases") or (),
            given.get("priority") or 0,
            given.get("gw_priority") or 0,
            given.get("ipv4_address") or "",
            given.get("ipv6_address") or "",
            given.get("link_local_ips"),
            given.get("mac_address") or "",
            given.get("driver_opts"),
            given.get("interface_name") or "",
        )


class FileUse(NamedTuple):
    """A config or secret that a service uses; `target` is where it goes ("": by its name). Owners are unchecked."""

    source: str
    target: str = ""
    uid: Any = None
    gid: Any = None
    mode: Any = None

    @classmethod
    def of(cls, document: Section) -> FileUse:
        """Return the typed form."""
        return cls(
            document["source"],
            document.get("target") or "",
            document.get("uid"),
            document.get("gid"),
            document.get("mode"),
        )

    def path(self, folder: str) -> str:
        """Return its path in the container; `folder`, with a slash at its end, is where relative ones go."""
        path = self.target or self.source
        return path if path.startswith("/") else folder + path


class FileDefinition(NamedTuple):
    """A config or secret of the project: a file, a variable, or its content."""

    file: str = ""
    environment: str = ""
    content: str | None = None
    is_external: bool = False

    @classmethod
    def of(cls, document: Section | None) -> FileDefinition:
        """Return the typed form."""
        given = document or {}
        content = given.get("content")
        return cls(
            given.get("file") or "",
            given.get("environment") or "",
            None if content is None else str(content),
            bool(given.get("external")),
        )


class HealthSettings(NamedTuple):
    """A health check; times in nanoseconds, 0 where the image or the engine decides."""

    test: str | Sequence[str] | None
    is_disabled: bool = False
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0

    @classmethod
    def of(cls, document: Section) -> HealthSettings:
        """Return the typed form."""
        return cls(
            document.get("test"),
            bool(document.get("disable")),
            duration_ns(document.get("interval")),
            duration_ns(document.get("timeout")),
            duration_ns(document.get("start_period")),
            duration_ns(document.get("start_interval")),
            whole(document.get("retries")),
        )


class Hook(NamedTuple):
    """A command that is run in a container: `post_start`, `pre_stop`, `exec` of `develop.watch`."""

    command: str | Sequence[str]
    user: str = ""
    is_privileged: bool = False
    working_directory: str = ""
    environment: tuple[str, ...] = ()

    @classmethod
    def of(cls, document: Section) -> Hook:
        """Return the typed form."""
        given = document.get("environment") or ()
        if isinstance(given, Mapping):
            given = [f"{key}={value}" for key, value in given.items() if value is not None]
        command = document.get("command") or ()
        return cls(
            command if isinstance(command, str) else tuple(command),
            document.get("user") or "",
            bool(document.get("privileged")),
            document.get("working_dir") or "",
            tuple(given),
        )

    def shown(self) -> str:
        """Return the command for a message."""
        return self.command if isinstance(self.command, str) else str(list(self.command))


class PreStartHook(NamedTuple):
    """A command that is run in a container of its own before a service starts; `image` is the service's where it is ""."""

    hook: Hook
    image: str = ""
    is_per_replica: bool = False

    @classmethod
    def of(cls, document: Section) -> PreStartHook:
        """Return the typed form."""
        return cls(Hook.of(document), document.get("image") or "", bool(document.get("per_replica")))


class WatchEntry(NamedTuple):
    """An entry of `develop.watch`, its paths as they are written."""

    action: str
    path: str
    target: str = ""
    include: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    hook: Hook | None = None
    has_initial_sync: bool = False
    has_extension: bool = False
    """Whether it has `x-initialSync`, the name of `initial_sync` before."""

    @classmethod
    def of(cls, document: Section) -> WatchEntry:
        """Return the typed form."""
        run = document.get("exec") or {}
        return cls(
            document["action"],
            str(document["path"]),
            str(document.get("target") or ""),
            _texts(document.get("include")),
            _texts(document.get("ignore")),
            Hook.of(run) if run.get("command") else None,
            bool(document.get("initial_sync") or document.get("x-initialSync")),
            "x-initialSync" in document,
        )


def _texts(given: Any) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given or ())


class ResourceLimits(NamedTuple):
    """`deploy.resources.limits` or `reservations`: 0 for none."""

    memory_bytes: int = 0
    nano_cpus: int = 0
    pids: int = 0
    devices: Sequence[Section] = ()

    @classmethod
    def of(cls, document: Section | None) -> ResourceLimits:
        """Return the typed form."""
        given = document or {}
        return cls(
            whole(given.get("memory")), nano_cpus(given.get("cpus")), given.get("pids") or 0, given.get("devices") or ()
        )


class RestartSettings(NamedTuple):
    """When the engine restarts a container, in its own words; `attempts` 0: without a limit."""

    name: str = "no"
    attempts: int = 0

    @classmethod
    def of(cls, policy: Section | None, restart: str | None) -> RestartSettings:
        """Return the typed form of `deploy.restart_policy`, which comes before `restart`."""
        if policy:
            condition = policy.get("condition") or "any"
            name = {"any": "always", "none": "no"}.get(condition, condition)
            return cls(name, int(policy.get("max_attempts") or 0) if name == "on-failure" else 0)
        name, _, count = str(restart or "no").partition(":")
        return cls(name, int(count or 0))


class DeviceRequest(NamedTuple):
    """Devices asked for by what they can do; `number` -1 means all of them."""

    driver: str
    number: int
    ids: Sequence[str] | None
    capabilities: Sequence[str]
    options: Mapping[str, str]

    @classmethod
    def of(cls, document: Section, *more: str) -> DeviceRequest:
        """Return the typed form; `more` are capabilities that are implied."""
        count = document.get("count")
        return cls(
            document.get("driver") or "",
            -1 if count == "all" else int(count or 0),
            document.get("device_ids"),
            [*(document.get("capabilities") or ()), *more],
            document.get("options") or {},
        )


class Provider(NamedTuple):
    """The program that provides a service, and its options."""

    type: str
    options: Mapping[str, Any]

    @classmethod
    def of(cls, document: Section) -> Provider:
        """Return the typed form."""
        return cls(document["type"], document.get("options") or {})


class ModelUse(NamedTuple):
    """How a service learns of a model: the variables for its address and name ("": named after the model)."""

    endpoint_variable: str = ""
    model_variable: str = ""

    @classmethod
    def of(cls, document: Section | None) -> ModelUse:
        """Return the typed form."""
        given = document or {}
        return cls(given.get("endpoint_var") or "", given.get("model_var") or "")


class Ulimit(NamedTuple):
    """A limit of processes (setrlimit(2))."""

    name: str
    soft: int
    hard: int


def ulimits(given: Mapping[str, Any] | None) -> list[Ulimit]:
    """Return `ulimits`, typed."""
    found = []
    for name, limit in (given or {}).items():
        soft, hard = (limit["soft"], limit["hard"]) if isinstance(limit, Mapping) else (limit, limit)
        found.append(Ulimit(name, int(soft), int(hard)))
    return found


def extra_hosts(given: Any) -> list[str]:
    """Return `extra_hosts` as the engine takes them: name:address."""
    if isinstance(given, Mapping):
        return [
            f"{name}:{one}"
            for name, address in given.items()
            for one in ([address] if isinstance(address, str) else address)
        ]
    return [entry.replace("=", ":", 1) for entry in given or ()]
