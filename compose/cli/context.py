"""What every command shares: the global flags, the loaded project, the engine's client."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from compose.errors import ConfigError
from compose.plan.project import CONFIG_FILES, PROJECT, WORKING_DIR, DesiredProject, ObservedContainer
from compose.render.progress import Progress, json_warning, make_progress
from runtime.client import Client, Endpoint, endpoint
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.spec import Project

DRY_RUN = "DRY-RUN MODE - "


@dataclass
class Globals:
    """The flags before the command."""

    files: tuple[str, ...] = ()
    project_name: str = ""
    profiles: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    project_directory: str = ""
    all_resources: bool = False
    host: str | None = None
    progress: str = ""
    ansi: str = "auto"
    parallel: int = -1
    dry_run: bool = False
    compatibility: bool = False
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    _project_environment: Mapping[str, str] = field(default_factory=dict)
    _fetched: dict[str, str] = field(default_factory=dict)
    """Where artifacts of registries are on this machine."""

    @cached_property
    def where(self) -> Endpoint:
        """Where the engine is."""
        return endpoint(self.environ, self.host)

    @cached_property
    def client(self) -> Client:
        """A client of the engine."""
        return Client(self.where)

    def setting(self, name: str) -> str:
        """Return a COMPOSE_* variable: from the environment, else from the loaded project's .env file; or ""."""
        return self.environ.get(name) or self._project_environment.get(name, "")

    def is_set(self, name: str) -> bool:
        """Whether a COMPOSE_* variable says yes."""
        return self.setting(name).lower() in ("1", "t", "true", "y", "yes", "on")

    @property
    def tells_json(self) -> bool:
        """Whether what is told of steps, warnings and errors is JSON (--progress)."""
        return (self.progress or self.setting("COMPOSE_PROGRESS")) == "json"

    def warn(self, text: str) -> None:
        """Write a warning to standard error."""
        print(json_warning(text) if self.tells_json else text, file=sys.stderr)

    def display(self, quiet: bool = False) -> Progress:
        """Return where progress is written."""
        environ = {**self._project_environment, **self.environ}
        progress = make_progress("quiet" if quiet else self.progress, self.ansi, environ)
        if self.dry_run:
            progress.prefix = DRY_RUN
        return progress

    def limit(self) -> int:
        """Return how many operations may run at once (--parallel, $COMPOSE_PARALLEL_LIMIT); 0 for no limit."""
        given = self.setting("COMPOSE_PARALLEL_LIMIT") if self.parallel == -1 else ""
        if given and not given.lstrip("-").isdigit():
            raise SkiffError(f"COMPOSE_PARALLEL_LIMIT must be an integer (found: {given!r})", "write a number")
        return max(0, int(given) if given else self.parallel)

    def project(self, **choices: Any) -> Project:
        """Load the project's files; warnings go to standard error. `choices` are LoadOptions. Raises ConfigError."""
        from compose.spec import LoadOptions, load

        options = LoadOptions(
            os.getcwd(),
            self.files,
            self.project_name,
            self.profiles,
            self.env_files,
            self.project_directory,
            self._standard_input(),
            all_resources=self.all_resources,
            fetch=self._fetch,
            **choices,
        )
        project = load(options, self.environ)
        for warning in project.warnings:
            self.warn(warning)
        return project

    def _fetch(self, name: str) -> str:
        """Return where the Compose file of the artifact `name` is on this machine. Raises SkiffError."""
        if name not in self._fetched:
            from compose.execute.artifacts import fetch

            self._fetched[name] = fetch(self.client, name, self.environ)
        return self._fetched[name]

    def _standard_input(self) -> bytes:
        """Return what `-f -` reads: no more than shows that it is too much."""
        from compose.spec.document import MAXIMUM_BYTES

        separator = self.environ.get("COMPOSE_PATH_SEPARATOR") or os.pathsep
        named = self.files or self.environ.get("COMPOSE_FILE", "").split(separator)
        return sys.stdin.buffer.read(MAXIMUM_BYTES + 1) if "-" in named else b""

    def load(self, services: Sequence[str] = ()) -> DesiredProject:
        """Load the project's files for planning; `services` enable their profiles. Raises ConfigError.

        Services whose images those of `services` are built on come along.
        """
        from compose.plan.images import missing_bases

        target = self._load(services)
        while services and (bases := {base for name in target.services for base in missing_bases(target, name)}):
            services = [*services, *sorted(bases)]
            target = self._load(services)
        return target

    def _load(self, services: Sequence[str], *, is_running: bool = False) -> DesiredProject:
        project = self.project(services=tuple(services), resolve_environment=not is_running)
        self._project_environment = project.environment
        named = self.env_files or tuple(filter(None, self.environ.get("COMPOSE_ENV_FILES", "").split(",")))
        target = DesiredProject(
            project.name,
            project.model(),
            project.working_directory,
            tuple(project.files),
            tuple(os.path.abspath(path) for path in named),
            project.environment,
            tuple(project.disabled_services),
            "_" if self.compatibility or self.is_set("COMPOSE_COMPATIBILITY") else "-",
            project.values,
        )
        from compose.plan.api_socket import uses_api_socket, with_api_socket

        if not uses_api_socket(target) or self.where.path is None:  # over TCP there is none: `up` refuses that
            return target
        from runtime.client.credentials import everything

        return with_api_socket(target, self.where.path, everything(self.environ))

    def load_or_name(self, services: Sequence[str] = ()) -> tuple[DesiredProject, bool]:
        """Return the files' project and True; where only a name is given, an empty one of that name and False.

        A name alone means what runs under it, whatever files are here. What variables services have is not read from
        their files, which need not be there: it is about what runs. Raises ConfigError.
        """
        if self.project_name and not self.files:
            return DesiredProject(self.project_name, {"name": self.project_name, "services": {}}), False
        try:
            return self._load(services, is_running=True), True
        except ConfigError:
            name = self.environ.get("COMPOSE_PROJECT_NAME")
            if not name:
                raise
            return DesiredProject(name, {"name": name, "services": {}}), False

    def containers(
        self, target: DesiredProject, services: Sequence[str] = (), *, all: bool = True, oneoff: bool = False
    ) -> list[ObservedContainer]:
        """Return the project's containers, by service and number. Raises SkiffError for a service it has not."""
        rows = self.client.containers(all=all, filters={"label": [f"{PROJECT}={target.name}"]})
        found = [ObservedContainer.of(row) for row in rows]
        known = {*target.services, *target.disabled, *(container.service for container in found)}
        for name in services:
            if name not in known:
                raise SkiffError(f"no such service: {name}", f"services: {', '.join(sorted(known)) or 'none'}")
        chosen = [c for c in found if (oneoff or not c.is_oneoff) and (not services or c.service in services)]
        return sorted(chosen, key=lambda container: (container.service, container.number, container.name))

    def one_container(
        self, target: DesiredProject, service: str, index: int = 0, *, running: bool = True
    ) -> ObservedContainer:
        """Return a container of `service`: its first, or number `index`. Raises SkiffError."""
        here = self.containers(target, [service])
        found = [c for c in here if not index or c.number == index]
        if index and not found:
            numbers = ", ".join(str(container.number) for container in here)
            raise SkiffError(
                f'service "{service}" has no container with index {index}', f"its containers are {numbers or 'none'}"
            )
        alive = [container for container in found if container.state == "running"]
        if not found or (running and not alive):
            raise SkiffError(f'service "{service}" is not running', f"start it: `skiff up -d {service}`")
        return (alive or found)[0]

    def refuse_dry_run(self, command: str) -> None:
        """Raise SkiffError in dry-run mode: what `command` does can't be told beforehand."""
        if self.dry_run:
            raise SkiffError(f"{command} has no dry-run mode", "leave --dry-run out")


def project_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Return container list rows by project."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        name = (row.get("Labels") or {}).get(PROJECT)
        if name:
            found.setdefault(name, []).append(row)
    return found


__all__ = ["CONFIG_FILES", "WORKING_DIR", "Globals", "project_rows"]
