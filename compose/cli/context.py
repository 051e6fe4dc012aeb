"""What every command shares: the global flags, the loaded project, the engine's client."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from compose.plan.project import CONFIG_FILES, PROJECT, WORKING_DIR, Existing, Target
from compose.render.progress import Progress, make_progress
from runtime.client import Client, Endpoint, endpoint
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.spec import Project


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
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @cached_property
    def where(self) -> Endpoint:
        """Where the engine is."""
        return endpoint(self.environ, self.host)

    @cached_property
    def client(self) -> Client:
        """A client of the engine."""
        return Client(self.where)

    def display(self, quiet: bool = False) -> Progress:
        """Return where progress is written."""
        return make_progress("quiet" if quiet else self.progress, self.ansi, self.environ)

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
            **choices,
        )
        project = load(options, self.environ)
        for warning in project.warnings:
            print(warning, file=sys.stderr)
        return project

    def _standard_input(self) -> bytes:
        """Return what `-f -` reads: no more than shows that it is too much."""
        from compose.spec.document import MAXIMUM_BYTES

        separator = self.environ.get("COMPOSE_PATH_SEPARATOR") or os.pathsep
        named = self.files or self.environ.get("COMPOSE_FILE", "").split(separator)
        return sys.stdin.buffer.read(MAXIMUM_BYTES + 1) if "-" in named else b""

    def load(self) -> Target:
        """Load the project's files for planning. Raises ConfigError."""
        project = self.project()
        model: dict[str, Any] = {**project.model(), "disabled": list(project.disabled_services)}
        return Target(
            project.name,
            model,
            project.working_directory,
            tuple(project.files),
            tuple(project.env_files),
            project.environment,
        )

    def has_files(self) -> bool:
        """Whether the project's files were named or can be found from here."""
        if self.files or self.environ.get("COMPOSE_FILE"):
            return True
        names = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
        folder = os.path.abspath(self.project_directory or ".")
        while True:
            if any(os.path.exists(os.path.join(folder, name)) for name in names):
                return True
            parent = os.path.dirname(folder)
            if parent == folder:
                return False
            folder = parent

    def load_or_name(self) -> tuple[Target, bool]:
        """Return the files' project and True; where only a name is given, an empty one of that name and False."""
        if self.project_name and not self.has_files():
            return Target(self.project_name, {"name": self.project_name, "services": {}}), False
        return self.load(), True

    def containers(
        self, target: Target, services: Sequence[str] = (), *, all: bool = True, oneoff: bool = False
    ) -> list[Existing]:
        """Return the project's containers, by service and number. Raises SkiffError for a service it has not."""
        rows = self.client.containers(all=all, filters={"label": [f"{PROJECT}={target.name}"]})
        found = [Existing.of(row) for row in rows]
        known = {*target.services, *(container.service for container in found)}
        for name in services:
            if name not in known:
                raise SkiffError(f"no such service: {name}", f"services: {', '.join(sorted(known)) or 'none'}")
        chosen = [c for c in found if (oneoff or not c.is_oneoff) and (not services or c.service in services)]
        return sorted(chosen, key=lambda container: (container.service, container.number, container.name))

    def one_container(self, target: Target, service: str, index: int = 0) -> Existing:
        """Return a running container of `service`: its first, or number `index`. Raises SkiffError."""
        found = [
            c for c in self.containers(target, [service]) if c.state == "running" and (not index or c.number == index)
        ]
        if not found:
            raise SkiffError(f'service "{service}" is not running', f"start it: `skiff up -d {service}`")
        return found[0]


def project_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Return container list rows by project."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        name = (row.get("Labels") or {}).get(PROJECT)
        if name:
            found.setdefault(name, []).append(row)
    return found


__all__ = ["CONFIG_FILES", "WORKING_DIR", "Globals", "project_rows"]
