"""The loaded project: the canonical model that `config` prints, with where it came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

SECTIONS = ("networks", "volumes", "secrets", "configs", "models")
"""What a project has besides services, in the order of the model."""


class LoadOptions(NamedTuple):
    """Options of a load. Paths are as the user gave them, relative to `working_directory` (absolute).

    `files` empty: COMPOSE_FILE, or the default names in this folder and its parents. `file_text` is what `-f -` reads.
    `services` not empty: only these, and what they depend on. Networks, volumes and the like that no service uses are
    left out but for `all_resources`. Without `interpolate`, the model is what the files say, in canonical forms but
    neither encoded nor reduced to what is enabled. `nested_extensions`: keep extensions below the top level too, apart.
    `keep_label_files`: services have `label_file` as well as the labels that come of it. `fetch` brings a Compose file
    that lies in a registry, by its name there, to this machine and returns its path.
    """

    working_directory: str
    files: tuple[str, ...] = ()
    project_name: str = ""
    profiles: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    project_directory: str = ""
    file_text: bytes = b""
    interpolate: bool = True
    normalize: bool = True
    resolve_paths: bool = True
    check_consistency: bool = True
    resolve_environment: bool = True
    keep_label_files: bool = False
    provenance: bool = False
    nested_extensions: bool = False
    services: tuple[str, ...] = ()
    all_resources: bool = False
    fetch: Callable[[str], str] | None = None


class SourceLocation(NamedTuple):
    """A place in a file; lines and columns count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Variable(NamedTuple):
    """A variable that a file mentions: its default, whether it is required, and the value that takes its place."""

    name: str
    required: bool
    default: str
    alternative: str
    place: SourceLocation


class LoadedService(NamedTuple):
    """A service: `config` is its canonical long form, JSON-ready, from which the config hash is computed."""

    name: str
    config: Mapping[str, Any]

    def config_dict(self) -> dict[str, Any]:
        """Return the service as a plain mapping."""
        return dict(self.config)


class Project(NamedTuple):
    """A project as its files say; every mapping is JSON-ready in the Compose Specification's long forms.

    `sources` gives each value's places by path, the winner first, when the load was asked for provenance; a value that
    no file gives has none. `nested_extensions` are the extensions below the top level by path, when the load was asked
    to keep them; the mappings have none of them. `origins` gives for each variable of `environment` where it is set
    and to what, the one that counts first; `included_origins` gives the same for each file that is included. `values` are
    those of the variables that configs and secrets are made of, by section and name, where they are set.
    `is_named_by_folder`: nobody gave the name, it is that of the folder.
    """

    name: str
    working_directory: str
    services: Mapping[str, LoadedService]
    disabled_services: Mapping[str, LoadedService]
    networks: Mapping[str, Any]
    volumes: Mapping[str, Any]
    configs: Mapping[str, Any]
    secrets: Mapping[str, Any]
    models: Mapping[str, Any]
    extensions: Mapping[str, Any]
    files: tuple[str, ...]
    env_files: tuple[str, ...]
    environment: Mapping[str, str]
    is_named_by_folder: bool = False
    warnings: tuple[str, ...] = ()
    variables: tuple[Variable, ...] = ()
    sources: Mapping[tuple[str | int, ...], tuple[SourceLocation, ...]] = {}
    nested_extensions: Mapping[tuple[str | int, ...], Any] = {}
    origins: Mapping[str, tuple[tuple[str, str], ...]] = {}
    included_origins: Mapping[str, Mapping[str, tuple[tuple[str, str], ...]]] = {}
    values: Mapping[tuple[str, str], str] = {}

    def model(self) -> dict[str, Any]:
        """Return the whole canonical model, which `config` prints."""
        found: dict[str, Any] = {"name": self.name}
        found["services"] = {name: dict(service.config) for name, service in sorted(self.services.items())}
        for section in ("networks", "volumes", "secrets", "configs", "models"):
            content = getattr(self, section)
            if content:
                found[section] = dict(sorted(content.items()))
        found.update(self.extensions)
        return found
