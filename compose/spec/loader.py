"""From files and an environment to the canonical project: each step a function of the tree before it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from compose.errors import ConfigError, ConfigErrors
from compose.spec import canonical as forms
from compose.spec import dotenv
from compose.spec import normalize as rules
from compose.spec.document import Document, Path, parse
from compose.spec.encode import encode_resource, encode_service
from compose.spec.files import Environment, discover, normalize_name, read, read_text
from compose.spec.merging import MergeError, interpolate, merge, unify
from compose.spec.model import LoadOptions, Project, Service
from compose.spec.validation import Schema

SECTIONS = ("networks", "volumes", "secrets", "configs", "models")


class _Problems:
    """Collects what is wrong, each with the place of the deepest step that a file has."""

    def __init__(self) -> None:
        self.documents: list[Document] = []
        self.errors: list[ConfigError] = []

    def __call__(self, message: str, path: Path) -> None:
        """Note a problem at `path`."""
        found = [placed for document in self.documents if (placed := document.place(path)) is not None]
        text, _, hint = message.partition("\n    ")
        shown = ".".join(str(step) for step in path)
        if not found:
            self.errors.append(ConfigError(f"{shown}: {text}", hint=hint or None))
            return
        _, place = max(found, key=lambda placed: placed[0])
        self.errors.append(ConfigError(f"{shown}: {text}", place.file, place.line, place.column, hint or None))

    def raise_any(self) -> None:
        """Raise what was noted."""
        if self.errors:
            raise self.errors[0] if len(self.errors) == 1 else ConfigErrors(self.errors)


def load(options: LoadOptions, environ: Mapping[str, str]) -> Project:
    """Return the project that `options` name. Raises ConfigError, ConfigErrors."""
    environment = Environment(environ)
    files, folder = discover(options, environment)
    problems = _Problems()
    unset: dict[str, str] = {}
    model: dict[str, Any] = {}
    contents = [(file, options.file_text if file == "-" else read(file)) for file in files]
    for file, data in contents:
        for document in parse(data, file):
            if document.content is None:
                continue
            if not isinstance(document.content, dict):
                raise ConfigError("a Compose file is a mapping", file, 1, 1, "begin with `services:`")
            problems.documents.append(document)

            def note(mention: Any, path: Path) -> None:
                if not mention.operator and environment.lookup(mention.name) is None:
                    unset.setdefault(mention.name, ".".join(map(str, path)))

            content = interpolate(document.content, environment.lookup, problems, note, values=options.interpolate)
            problems.raise_any()
            try:
                model = merge(model, content) if model else content
            except MergeError as error:
                problems(str(error), error.path)
            unify(model)
    problems.raise_any()
    if not model:
        raise ConfigError("empty compose file", files[0] if files else "", hint="begin with `services:`")
    Schema.compose().validate(model, problems)
    problems.raise_any()
    name = _project_name(options, model, folder, environment)
    environment.values.setdefault("COMPOSE_PROJECT_NAME", name)
    forms.canonical(model, problems, interpolated=options.interpolate)
    problems.raise_any()
    forms.defaults(model)
    if options.resolve_paths:
        forms.resolve_paths(model, folder, environ.get("HOME") or "/")
    enabled, disabled = _profiles(model, {*options.profiles, *environ.get("COMPOSE_PROFILES", "").split(",")} - {""})
    model["services"] = enabled
    if options.resolve_environment:
        forms.resolve_environment(model, environment.lookup)
        _read_env_files(model, environment)
    if options.normalize:
        rules.normalize(model, name, environment.lookup)
    if options.check_consistency:
        rules.check_resources(model, problems)
        rules.check_consistency(model, disabled, problems)
        problems.raise_any()
    services = {key: Service(key, encode_service(key, service, problems)) for key, service in enabled.items()}
    resources = {
        section: {key: encode_resource(section, key, one, problems) for key, one in (model.get(section) or {}).items()}
        for section in SECTIONS
    }
    problems.raise_any()
    warnings = tuple(
        f'The "{key}" variable is not set. Defaulting to a blank string. ({at})' for key, at in unset.items()
    )
    return Project(
        name=name,
        working_directory=folder,
        services=services,
        disabled_services={key: Service(key, service) for key, service in disabled.items()},
        extensions={key: value for key, value in model.items() if key.startswith("x-")},
        files=tuple(files),
        env_files=tuple(environment.files),
        environment=environment.values,
        warnings=warnings,
        networks=resources["networks"],
        volumes=resources["volumes"],
        configs=resources["configs"],
        secrets=resources["secrets"],
        models=resources["models"],
    )


def _project_name(options: LoadOptions, model: Mapping[str, Any], folder: str, environment: Environment) -> str:
    given = options.project_name or environment.lookup("COMPOSE_PROJECT_NAME") or ""
    if given:
        if given != normalize_name(given):
            raise ConfigError(
                f"invalid project name {given!r}: it may have lower case letters, digits, hyphens and underscores, and "
                "begins with a letter or digit"
            )
        return given
    return str(model.get("name") or normalize_name(os.path.basename(folder)) or "default")


def _profiles(model: Mapping[str, Any], active: set[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    enabled: dict[str, Any] = {}
    disabled: dict[str, Any] = {}
    for name, service in (model.get("services") or {}).items():
        wanted = set(service.get("profiles") or ())
        target = enabled if not wanted or wanted & active or "*" in active else disabled
        target[name] = service
    return enabled, disabled


def _read_env_files(model: Mapping[str, Any], environment: Environment) -> None:
    """Put, in place, the variables of each service's env_file below those of its environment."""
    for name, service in model["services"].items():
        found: dict[str, str] = {}
        for entry in service.pop("env_file", None) or ():
            path = entry["path"]
            if not os.path.exists(path):
                if entry.get("required", True):
                    raise ConfigError(
                        f"service {name!r}: env file {path} not found", hint="make it, or set required: false"
                    )
                continue
            text = read_text(path)
            if entry.get("format") == "raw":
                found.update(dotenv.parse_raw(text))
            else:
                found.update(dotenv.parse(text, path, lambda key: environment.lookup(key) or found.get(key)))  # noqa: B023
        if found:
            service["environment"] = {**found, **(service.get("environment") or {})}
