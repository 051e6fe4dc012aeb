"""The input of plans: the project as it should be, and the engine's state. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from compose.plan.services import Services
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.plan.parts import FileDefinition
    from compose.plan.service import Service

LABEL = "com.docker.compose."
PROJECT, SERVICE, NUMBER, ONEOFF = f"{LABEL}project", f"{LABEL}service", f"{LABEL}container-number", f"{LABEL}oneoff"
CONFIG_HASH, IMAGE, DEPENDS_ON, VERSION = (
    f"{LABEL}config-hash",
    f"{LABEL}image",
    f"{LABEL}depends_on",
    f"{LABEL}version",
)
CONFIG_FILES, WORKING_DIR = f"{LABEL}project.config_files", f"{LABEL}project.working_dir"
NETWORK, VOLUME, REPLACE = f"{LABEL}network", f"{LABEL}volume", f"{LABEL}replace"
INPUTS = "dev.skiff.inputs"
"""What a container was made of, with digests of the files it uses (plan/inputs); docker compose has no label for it."""
MOUNTED_IMAGES = "dev.skiff.image-mounts"
"""The IDs of the images that a container mounts."""
HOOK, HOOK_INDEX = f"{LABEL}hook", f"{LABEL}hook.index"
"""Of a container that ran a hook: its kind, and its place in the list."""
ENVIRONMENT_FILE, SLUG = f"{LABEL}project.environment_file", f"{LABEL}slug"

COMPOSE_VERSION = "5.5.0"
"""The reference whose labels and rules we follow."""


def own_labels(project: str) -> list[str]:
    """Return what the labels of a project's own containers have in common, as the engine filters by it.

    Others carry the project's label alone, as hooks' containers do, or containers that others made under the project's name.
    """
    return [f"{PROJECT}={project}", CONFIG_HASH]


ALIVE = ("running", "paused", "restarting")
HEALTHS = ("starting", "unhealthy", "healthy")


@dataclass(frozen=True)
class DesiredProject:
    """A project to bring up or take down; `model` is its canonical form, what `config --format json` prints.

    `disabled` are services that the files have but the command leaves out: by profile, or by name. `environment_files`
    are those that the user named. `separator` stands between the parts of a container's name. `values` are what the
    variables of configs and secrets are, by section and name. `builders` are services that are not meant, by the images
    that they build. `is_named_by_folder`: nobody gave the name, it is that of the folder.
    """

    name: str
    model: Mapping[str, Any]
    working_directory: str = ""
    config_files: tuple[str, ...] = ()
    environment_files: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    disabled: tuple[str, ...] = ()
    separator: str = "-"
    values: Mapping[tuple[str, str], str] = field(default_factory=dict)
    builders: Mapping[str, str] = field(default_factory=dict)
    is_named_by_folder: bool = False

    @cached_property
    def services(self) -> Mapping[str, Service]:
        """The enabled services by name."""
        return Services(self.section("services"))

    def with_services(self, *changed: Service, **sections: Mapping[str, Any]) -> DesiredProject:
        """Return the project with other services in the place of those of the same name, and other `sections`."""
        documents = {**self.section("services"), **{service.name: service.document for service in changed}}
        return replace(self, model={**self.model, **sections, "services": documents})

    def only(self, names: Collection[str]) -> DesiredProject:
        """Return the project with the services `names` alone."""
        documents = {name: document for name, document in self.section("services").items() if name in names}
        return replace(self, model={**self.model, "services": documents})

    def owns(self, service: str) -> bool:
        """Whether `service` is one of the files; where there are none but a name, everything of that name is meant."""
        known = {*self.section("services"), *self.disabled}
        return not known or service in known

    def section(self, name: str) -> Mapping[str, Any]:
        """Return a section of the model: "services", "networks", "volumes", "configs", "secrets" or "models"."""
        return self.model.get(name) or {}

    def any_sets(self, attribute: str) -> bool:
        """Whether a service sets `attribute`; unlike `services`, this does not need the typed services."""
        return any(document.get(attribute) for document in self.section("services").values())

    def file(self, kind: str, key: str) -> FileDefinition:
        """Return the config or secret `key`; `kind` is "configs" or "secrets"."""
        from compose.plan.parts import FileDefinition

        return FileDefinition.of(self.section(kind).get(key))

    def labels(self) -> dict[str, str]:
        """The labels that every object of the project carries."""
        return {PROJECT: self.name}

    def resource_name(self, section: str, key: str) -> str:
        """Return the engine's name of the network or volume `key` (`section` is "networks" or "volumes").

        Raises SkiffError if the files give it an empty one, as by a variable that is not set: the name that it would have
        otherwise is that of another network or volume, without what this one has.
        """
        declared = self.section(section).get(key)
        if declared is None:
            return f"{self.name}_{key}"
        if not declared.get("name"):
            raise SkiffError(
                f"{section}.{key}: its name is empty", "set the variable it consists of, or leave name out"
            )
        return str(declared["name"])

    def is_external(self, section: str, key: str) -> bool:
        """Whether the network or volume `key` is not created and removed by the project."""
        return bool((self.section(section).get(key) or {}).get("external"))


@dataclass(frozen=True)
class ObservedContainer:
    """A container that the engine has, as its list shows it."""

    id: str
    name: str
    service: str
    number: int
    state: str
    image_id: str
    labels: Mapping[str, str]
    document: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> ObservedContainer:
        """Return the container of a row of "List containers"."""
        labels = row.get("Labels") or {}
        number = labels.get(NUMBER) or "0"
        return cls(
            row["Id"],
            (row.get("Names") or ["/"])[0].removeprefix("/"),
            labels.get(SERVICE, ""),
            int(number) if number.isdigit() else 0,
            row.get("State", ""),
            row.get("ImageID", ""),
            labels,
            row,
        )

    @property
    def is_oneoff(self) -> bool:
        """Whether `run` made it."""
        return self.labels.get(ONEOFF, "False").lower() == "true"

    @property
    def is_alive(self) -> bool:
        """Whether it runs, is paused, or is about to be restarted."""
        return self.state in ALIVE

    @property
    def health(self) -> str:
        """One of HEALTHS where its health is checked, else ""."""
        return next((health for health in HEALTHS if f"({health})" in self.status or f": {health})" in self.status), "")

    @property
    def exit_code(self) -> int | None:
        """The exit code of its process, None where that has not ended or the engine doesn't say."""
        code = self.status.removeprefix("Exited (").partition(")")[0]
        return int(code) if self.state == "exited" and code.isdigit() else None

    @property
    def status(self) -> str:
        """What the list says of its state, such as "Up 2 hours (healthy)"."""
        return str(self.document.get("Status") or "")

    def short_name(self) -> str:
        """Return its name before its log lines: without the project's where it is the usual one."""
        project = self.labels.get(PROJECT, "")
        for separator in "-_":
            if self.name == separator.join((project, self.service, str(self.number))):
                return self.name[len(project) + 1 :]
        return self.name


@dataclass(frozen=True)
class EngineState:
    """What the engine has: the project's containers, networks and volumes by name, images by the names in use.

    `networks` and `volumes` are all that the engine has, also those of others; `images` are IDs, `tagged_s` when each
    got its name last (Unix time), where the engine says so. `other_platforms` says what an image is for that is here, and
    not for the platform that its service wants. `hooks` are containers of hooks that failed.
    """

    containers: Sequence[ObservedContainer] = ()
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    volumes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    tagged_s: Mapping[str, float] = field(default_factory=dict)
    other_platforms: Mapping[str, str] = field(default_factory=dict)
    hooks: Sequence[ObservedContainer] = ()

    def of_service(self, service: str) -> list[ObservedContainer]:
        """Return the service's containers, one-offs left out, by number."""
        found = [c for c in self.containers if c.service == service and not c.is_oneoff]
        return sorted(found, key=lambda container: (container.number, container.name))

    def container_of(self) -> dict[str, str]:
        """Return for each service that has any its first container's ID: the one whose namespaces others share."""
        found: dict[str, str] = {}
        for container in sorted(self.containers, key=lambda each: (each.number, each.name)):
            if not container.is_oneoff:
                found.setdefault(container.service, container.id)
        return found


def image_name(target: DesiredProject, name: str) -> str:
    """Return the image that the service's containers run."""
    return target.services[name].image or target.separator.join((target.name, name))


def container_name(target: DesiredProject, name: str, number: int) -> str:
    """Return the name of the service's container `number`."""
    usual = target.separator.join((target.name, name, str(number)))
    return target.services[name].container_name or usual


def labelled(document: Mapping[str, Any], label: str) -> str | None:
    """Return a label's value of a network or volume as the engine shows it, None where it has not that label."""
    value = (document.get("Labels") or {}).get(label)
    return None if value is None else str(value)
