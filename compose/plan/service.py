"""A service of the canonical model, typed. Pure.

A service has some eighty attributes, and most commands read a handful of them. So `Service` keeps the document of the
loader and reads each attribute when it is first asked for: a thousand services cost nothing to have, where a dataclass
of all attributes takes 3 ms to define and 70 ms to fill. Others read the document only to hash or to change it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from compose.plan.build_settings import BuildSettings
from compose.plan.parts import (
    Dependency,
    FileUse,
    HealthSettings,
    Hook,
    ModelUse,
    Mount,
    NetworkUse,
    Port,
    PreStartHook,
    Provider,
    RestartSettings,
    WatchEntry,
    extra_hosts,
)
from compose.plan.service_rights import ServiceRights
from compose.plan.values import duration_ns


class Service(ServiceRights):
    """The service `name`; `document` is its canonical form, what `config --format json` prints of it.

    Attributes have the names of the Compose Specification unless a unit or a type says more. What the file does not set
    is "", 0, empty or None.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Service) and (self.name, self.document) == (other.name, other.document)

    __hash__ = None  # type: ignore[assignment]  # documents are not hashable

    def __repr__(self) -> str:
        return f"Service({self.name!r}, {self.document!r})"

    def changed(self, **keys: Any) -> Service:
        """Return the service with other values for `keys` of its document."""
        return Service(self.name, {**self.document, **keys})

    def with_environment(self, variables: Mapping[str, str | None]) -> Service:
        """Return the service with `variables` added to its environment."""
        return self.changed(environment={**self.environment, **variables})

    # --- image

    @property
    def image(self) -> str:
        """The image's name; "": named after project and service."""
        return self._text("image")

    @cached_property
    def build(self) -> BuildSettings | None:
        """How the image is built."""
        document = self.document.get("build")
        return BuildSettings.of(document) if document else None

    @property
    def pull_policy(self) -> str:
        """When the image is pulled or built."""
        return self._text("pull_policy")

    @property
    def platform(self) -> str:
        """The platform of the image."""
        return self._text("platform")

    # --- the stack

    @cached_property
    def dependencies(self) -> Mapping[str, Dependency]:
        """The services that this one depends on."""
        return {name: Dependency.of(how) for name, how in self._mapping("depends_on").items()}

    @property
    def container_name(self) -> str:
        """The name of its one container; "": made of project, service and number."""
        return self._text("container_name")

    @property
    def replicas(self) -> int:
        """How many containers it has."""
        if self.document.get("scale") is not None:
            return int(self.document["scale"])
        wanted = self._deploy.get("replicas")
        return 1 if wanted is None else int(wanted)

    @cached_property
    def provider(self) -> Provider | None:
        """The program that provides it in place of containers."""
        document = self.document.get("provider")
        return Provider.of(document) if document else None

    @cached_property
    def models(self) -> Mapping[str, ModelUse]:
        """The models that it uses."""
        return {name: ModelUse.of(how) for name, how in self._mapping("models").items()}

    @property
    def attach(self) -> bool:
        """Whether `up` shows its output."""
        return self.document.get("attach") is not False

    @property
    def uses_api_socket(self) -> bool:
        """Whether it speaks to the engine."""
        return bool(self.document.get("use_api_socket"))

    @cached_property
    def watch(self) -> Sequence[WatchEntry]:
        """What changes of files lead to (`develop.watch`)."""
        return [WatchEntry.of(each) for each in self._mapping("develop").get("watch") or ()]

    @property
    def is_developed(self) -> bool:
        """Whether it has a `develop` section."""
        return bool(self.document.get("develop"))

    @cached_property
    def pre_start(self) -> Sequence[PreStartHook]:
        """What is run in containers of their own before the service starts."""
        return [PreStartHook.of(each) for each in self.document.get("pre_start") or ()]

    def hooks(self, phase: str) -> Sequence[Hook]:
        """Return the hooks of `phase`: "post_start" or "pre_stop"."""
        return [Hook.of(each) for each in self.document.get(phase) or ()]

    # --- the process

    @property
    def command(self) -> Any:
        """The command, None for the image's."""
        return self.document.get("command")

    @property
    def entrypoint(self) -> Any:
        """The entrypoint, None for the image's."""
        return self.document.get("entrypoint")

    @property
    def environment(self) -> Mapping[str, str | None]:
        """Variables; one that is None is not set."""
        return self._mapping("environment")

    @property
    def hostname(self) -> str:
        """The host's name in the container."""
        return self._text("hostname")

    @property
    def domainname(self) -> str:
        """The domain's name in the container."""
        return self._text("domainname")

    @property
    def user(self) -> str:
        """The user, or user ID."""
        return self._text("user")

    @property
    def working_directory(self) -> str:
        """The working directory."""
        return self._text("working_dir")

    @property
    def tty(self) -> bool:
        """Whether the process has a terminal."""
        return bool(self.document.get("tty"))

    @property
    def stdin_open(self) -> bool:
        """Whether standard input stays open."""
        return bool(self.document.get("stdin_open"))

    @property
    def init(self) -> bool | None:
        """Whether an init process reaps what the process leaves."""
        return self.document.get("init")

    @property
    def stop_signal(self) -> str:
        """The signal that asks it to stop."""
        return self._text("stop_signal")

    @property
    def stop_grace_period_ns(self) -> int | None:
        """How long it may take to stop, None: as the image or the engine says."""
        given = self.document.get("stop_grace_period")
        return None if given is None else duration_ns(given)

    @cached_property
    def healthcheck(self) -> HealthSettings | None:
        """How its health is checked, None: as the image says."""
        document = self.document.get("healthcheck")
        return HealthSettings.of(document) if document else None

    @property
    def restart_policy(self) -> RestartSettings:
        """When it is restarted."""
        return RestartSettings.of(self._deploy.get("restart_policy"), self.document.get("restart"))

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of the file."""
        return {key: str(value) for key, value in self._mapping("labels").items()}

    @property
    def logging(self) -> tuple[str, Mapping[str, str]] | None:
        """The log driver and its options."""
        wanted = self.document.get("logging")
        if not wanted:
            return None
        return wanted.get("driver") or "", {key: str(value) for key, value in (wanted.get("options") or {}).items()}

    # --- files

    @cached_property
    def mounts(self) -> Sequence[Mount]:
        """The entries of `volumes`."""
        return [Mount.of(each) for each in self.document.get("volumes") or ()]

    @property
    def volume_keys(self) -> set[str]:
        """The project's volumes that its containers mount."""
        return {mount.source for mount in self.mounts if mount.type == "volume" and mount.source}

    @property
    def volumes_from(self) -> Sequence[str]:
        """Services and containers whose volumes it mounts."""
        return self._texts("volumes_from")

    @property
    def tmpfs(self) -> Mapping[str, str]:
        """Options of in-memory filesystems by path."""
        pairs = (entry.partition(":") for entry in self._texts("tmpfs"))
        return {path: options for path, _, options in pairs}

    def files(self, kind: str) -> Sequence[FileUse]:
        """Return the configs or secrets that it uses; `kind` is "configs" or "secrets"."""
        return [FileUse.of(each) for each in self.document.get(kind) or ()]

    @property
    def is_read_only(self) -> bool:
        """Whether the container's root is read-only."""
        return bool(self.document.get("read_only"))

    @property
    def storage_options(self) -> Mapping[str, str] | None:
        """Options of the storage driver."""
        return self.document.get("storage_opt")

    # --- networks

    @property
    def network_mode(self) -> str:
        """What it has in place of networks."""
        return self._text("network_mode")

    @cached_property
    def networks(self) -> Mapping[str, NetworkUse]:
        """The project's networks that its containers are connected to."""
        if self.network_mode:
            return {}
        return {key: NetworkUse.of(how) for key, how in self._mapping("networks").items()}

    @property
    def network_keys(self) -> set[str]:
        """The names of these networks in the files."""
        return set() if self.network_mode else set(self._mapping("networks"))

    @property
    def own_links(self) -> Sequence[str]:
        """Links to services of the project."""
        return self._texts("links")

    @property
    def links(self) -> Sequence[str]:
        """Links to services and to containers of others."""
        return [*self._texts("links"), *self._texts("external_links")]

    @cached_property
    def ports(self) -> Sequence[Port]:
        """The ports."""
        return [Port.of(each) for each in self.document.get("ports") or ()]

    @property
    def expose(self) -> Sequence[str]:
        """Ports that other containers reach."""
        return [str(port) for port in self.document.get("expose") or ()]

    @property
    def extra_hosts(self) -> Sequence[str]:
        """Additional names: name:address."""
        return extra_hosts(self.document.get("extra_hosts"))

    @property
    def mac_address(self) -> str:
        """The hardware address."""
        return self._text("mac_address")

    @property
    def dns(self) -> Sequence[str] | None:
        """Name servers."""
        return self.document.get("dns")

    @property
    def dns_search(self) -> Sequence[str] | None:
        """Search domains."""
        return self.document.get("dns_search")

    @property
    def dns_options(self) -> Sequence[str] | None:
        """Options of the resolver."""
        return self.document.get("dns_opt")
