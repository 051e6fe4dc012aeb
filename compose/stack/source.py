"""From files, or a name alone, to the project that a use case is about."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from compose.errors import ConfigError
from compose.plan.project import DesiredProject

if TYPE_CHECKING:
    from compose.loading import Project
    from runtime.client import EngineAddress

TRUE = ("1", "t", "true", "y", "yes", "on")


def _no_input(limit_bytes: int) -> bytes:
    return b""


@dataclass(frozen=True)
class ProjectSource:
    """Where a project comes from: the global flags of `docker compose`.

    `standard_input(limit_bytes)` returns what `-f -` reads.
    """

    files: tuple[str, ...] = ()
    project_name: str = ""
    profiles: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    project_directory: str = ""
    all_resources: bool = False
    compatibility: bool = False
    standard_input: Callable[[int], bytes] = field(default=_no_input)


class Loader:
    """Loads the project of `source`. `where` returns the engine's address, asked only when a project needs it."""

    def __init__(
        self,
        source: ProjectSource,
        environ: Mapping[str, str],
        where: Callable[[], EngineAddress],
        warn: Callable[[str], None],
    ) -> None:
        self.source = source
        self.project_environment: Mapping[str, str] = {}
        """The variables of the project loaded last, those of its .env file included."""
        self._environ = environ
        self._where = where
        self._warn = warn
        self._fetched: dict[str, str] = {}
        """Where artifacts of registries were stored on this machine, by their names."""

    def setting(self, name: str) -> str:
        """Return a COMPOSE_* variable: from the environment, else from the loaded project's .env file; or ""."""
        return self._environ.get(name) or self.project_environment.get(name, "")

    def is_set(self, name: str) -> bool:
        """Whether a COMPOSE_* variable is true."""
        return self.setting(name).lower() in TRUE

    def project(self, *, profiles: tuple[str, ...] | None = None, **choices: Any) -> Project:
        """Load the files; warnings go to `warn`. `choices` are fields of LoadOptions. Raises ConfigError."""
        from compose.loading import LoadOptions, load

        source = self.source
        options = LoadOptions(
            os.getcwd(),
            source.files,
            source.project_name,
            source.profiles if profiles is None else profiles,
            source.env_files,
            source.project_directory,
            self._standard_input(),
            all_resources=source.all_resources,
            fetch=self._fetch,
            **choices,
        )
        project = load(options, self._environ)
        for warning in project.warnings:
            self._warn(warning)
        return project

    def _fetch(self, name: str) -> str:
        """Return where the Compose file of the artifact `name` is on this machine. Raises SkiffError."""
        if name not in self._fetched:
            from compose.execute.artifacts import fetch
            from runtime.client import Client

            self._fetched[name] = fetch(Client(self._where()), name, self._environ)
        return self._fetched[name]

    def _standard_input(self) -> bytes:
        """Return what `-f -` reads: one byte more than a file may have shows that it is too large."""
        from compose.loading.document import MAXIMUM_BYTES

        separator = self._environ.get("COMPOSE_PATH_SEPARATOR") or os.pathsep
        named = self.source.files or self._environ.get("COMPOSE_FILE", "").split(separator)
        return self.source.standard_input(MAXIMUM_BYTES + 1) if "-" in named else b""

    def load(
        self, services: Sequence[str] = (), *, profiles: tuple[str, ...] | None = None, makes_containers: bool = True
    ) -> DesiredProject:
        """Load the files for planning; naming `services` enables their profiles. Raises ConfigError.

        Services whose images those of `services` are built from are loaded as well. What only builds, moves or draws,
        and makes no containers, does not read their files of variables (`env_file`), which need not be there.
        """
        from compose.plan.images import missing_bases

        project = self._load(services, profiles, reads_variables=makes_containers)
        while services and (bases := {base for name in project.services for base in missing_bases(project, name)}):
            services = [*services, *sorted(bases)]
            project = self._load(services, profiles, reads_variables=makes_containers)
        return project

    def _load(
        self, services: Sequence[str], profiles: tuple[str, ...] | None = None, *, reads_variables: bool
    ) -> DesiredProject:
        from compose.plan.platforms import with_default_platform

        loaded = self.project(
            services=tuple(services), profiles=profiles, resolve_environment=reads_variables, keep_label_files=True
        )
        self.project_environment = loaded.environment
        named = self.source.env_files or tuple(filter(None, self._environ.get("COMPOSE_ENV_FILES", "").split(",")))
        project = DesiredProject(
            loaded.name,
            loaded.model(),
            loaded.working_directory,
            tuple(loaded.files),
            tuple(os.path.abspath(path) for path in named),
            loaded.environment,
            tuple(loaded.disabled_services),
            "_" if self.source.compatibility or self.is_set("COMPOSE_COMPATIBILITY") else "-",
            loaded.values,
            {
                service.config["image"]: name
                for name, service in loaded.disabled_services.items()
                if service.config.get("build") and service.config.get("image")
            },
            loaded.is_named_by_folder,
        )
        project = with_default_platform(project, loaded.environment)
        # an engine reached over TCP has no socket to hand on: `up` refuses such a project
        if not project.any_sets("use_api_socket") or (path := self._where().path) is None:
            return project
        from compose.plan.api_socket import with_api_socket
        from runtime.client.credentials import everything

        return with_api_socket(project, path, everything(self._environ))

    def load_or_name(self, services: Sequence[str] = ()) -> tuple[DesiredProject, bool]:
        """Return the files' project and True; where only a name is given, an empty project of that name and False.

        With `--project-name` and no `--file`, files in the current directory are ignored: what runs under that name is
        meant. The commands that call this are about what runs: files of variables (`env_file`) are not read, and need
        not be there. Raises ConfigError.
        """
        source = self.source
        if source.project_name and not source.files:
            return _named(source.project_name), False
        try:
            return self._load(services, reads_variables=False), True
        except ConfigError:
            name = self._environ.get("COMPOSE_PROJECT_NAME")
            if not name:
                raise
            return _named(name), False


def _named(name: str) -> DesiredProject:
    return DesiredProject(name, {"name": name, "services": {}})
