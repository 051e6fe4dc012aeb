"""From files and an environment to the canonical project: each step a function of the tree before it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compose.errors import ConfigError, ConfigErrors
from compose.spec import canonical as forms
from compose.spec import dotenv
from compose.spec import normalize as rules
from compose.spec.document import Document, Path, parse
from compose.spec.encode import encode_resource, encode_service
from compose.spec.files import Environment, discover, normalize_name, read, read_text
from compose.spec.merging import MergeError, Tree, interpolate, merge, unify
from compose.spec.model import LoadOptions, Place, Project, Service, Variable
from compose.spec.template import Mention
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
    reader = _Reader(options, problems, environ.get("HOME") or "/")
    model = reader.model(files, folder, environment, ())
    unset = reader.unset
    if not model:
        raise ConfigError("empty compose file", files[0] if files else "", hint="begin with `services:`")
    name = _project_name(options, model, folder, environment)
    environment.values.setdefault("COMPOSE_PROJECT_NAME", name)
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
        variables=tuple(reader.variables),
        sources=_sources(problems.documents) if options.provenance else {},
        origins={key: tuple(found) for key, found in environment.origins.items()},
        networks=resources["networks"],
        volumes=resources["volumes"],
        configs=resources["configs"],
        secrets=resources["secrets"],
        models=resources["models"],
    )


class _Reader:
    """Reads files into one model: each file's variables, then `extends`, then the files upon each other, `include` last."""

    def __init__(self, options: LoadOptions, problems: _Problems, home: str) -> None:
        self._options = options
        self._problems = problems
        self._home = home
        self.unset: dict[str, str] = {}
        self.variables: list[Variable] = []

    def model(self, files: Sequence[str], folder: str, environment: Environment, above: tuple[str, ...]) -> Tree:
        """Return the model of `files` in canonical forms; `above` are the files that lead here by include."""
        model: Tree = {}
        for file in files:
            if file in above:
                raise ConfigError(f"include cycle: {' -> '.join((*above, file))}", file)
            for content in self._contents(file, environment):
                self._extend(content, file, folder, environment)
                try:
                    model = merge(model, content) if model else content
                except MergeError as error:
                    self._problems(str(error), error.path)
                self._problems.raise_any()
                unify(model)
        if not model:
            return model
        Schema.compose().validate(model, self._problems)
        self._problems.raise_any()
        forms.canonical(model, self._problems, interpolated=self._options.interpolate)
        self._problems.raise_any()
        for entry in model.pop("include", None) or ():
            self._include(model, entry, folder, environment, (*above, *files))
        return model

    def _contents(self, file: str, environment: Environment) -> Iterator[Tree]:
        """Yield the documents of a file with their variables replaced."""
        data = self._options.file_text if file == "-" else read(file)
        for document in parse(data, file):
            if document.content is None:
                continue
            if not isinstance(document.content, dict):
                raise ConfigError("a Compose file is a mapping", file, 1, 1, "begin with `services:`")
            self._problems.documents.append(document)

            def note(mention: Mention, path: Path, document: Document = document) -> None:
                placed = document.place(path)
                if placed is not None:
                    self.variables.append(_variable(mention, placed[1]))
                if not mention.operator and environment.lookup(mention.name) is None:
                    self.unset.setdefault(mention.name, ".".join(map(str, path)))

            yield interpolate(
                document.content, environment.lookup, self._problems, note, values=self._options.interpolate
            )
            self._problems.raise_any()

    # --- extends

    def _extend(self, content: Tree, file: str, folder: str, environment: Environment) -> None:
        """Replace, in place, every service that extends another by the two merged."""
        services = content.get("services")
        if isinstance(services, dict):
            done: dict[str, Tree] = {}
            for name in services:
                done[name] = self._extended(services, name, file, folder, environment, ())
            content["services"] = done

    def _extended(
        self,
        services: Tree,
        name: str,
        file: str,
        folder: str,
        environment: Environment,
        trail: tuple[tuple[str, str], ...],
    ) -> Tree:
        service = services.get(name)
        if not isinstance(service, dict) or "extends" not in service:
            return service  # type: ignore[return-value]
        if (file, name) in trail:
            shown = " -> ".join(one for _, one in (*trail, (file, name)))
            raise ConfigError(f"circular reference: service {name!r} extends itself ({shown})", file)
        how = service["extends"]
        wanted = how if isinstance(how, str) else (how or {}).get("service")
        other = how.get("file") if isinstance(how, dict) else None
        trail = (*trail, (file, name))
        if other:
            path = os.path.normpath(os.path.join(folder, os.path.expanduser(str(other))))
            base_folder = os.path.dirname(path)
            found: Tree = {}
            for content in self._contents(path, environment):
                found = merge(found, content) if found else content
            known = found.get("services") or {}
            base = self._base(known, wanted, path, base_folder, environment, trail, name)
            holder: Tree = {"services": {str(wanted): base}}
            forms.canonical(holder, self._problems, interpolated=self._options.interpolate)
            if self._options.resolve_paths:
                forms.resolve_paths(holder, base_folder, self._home)
            base = holder["services"][str(wanted)]
        else:
            base = self._base(services, wanted, file, folder, environment, trail, name)
        own = {key: value for key, value in service.items() if key != "extends"}
        merged: Tree = {"services": {name: merge(base, own, ("services", name))}}
        unify(merged)
        result: Tree = merged["services"][name]
        return result

    def _base(
        self,
        services: Tree,
        wanted: Any,
        file: str,
        folder: str,
        environment: Environment,
        trail: tuple[tuple[str, str], ...],
        name: str,
    ) -> Tree:
        if wanted not in services:
            hint = rules.suggestion(str(wanted), services).strip() or None
            raise ConfigError(
                f"cannot extend service {wanted!r} in {file}: service {wanted!r} not found ({name})", hint=hint
            )
        return dict(self._extended(services, str(wanted), file, folder, environment, trail) or {})

    # --- include

    def _include(self, model: Tree, entry: Any, folder: str, environment: Environment, above: tuple[str, ...]) -> None:
        """Take in the model of an `include` entry; what both define must be the same."""
        how: Tree = {"path": entry} if isinstance(entry, str) else dict(entry)
        paths = [how["path"]] if isinstance(how.get("path"), str) else list(how.get("path") or ())
        files = [os.path.normpath(os.path.join(folder, path)) for path in paths]
        if not files:
            return
        base = how.get("project_directory")
        inner = os.path.normpath(os.path.join(folder, base)) if base else os.path.dirname(files[0])
        local = environment.copy()
        named = how.get("env_file")
        named = [named] if isinstance(named, str) else list(named or ())
        for path in named:
            path = path if os.path.isabs(path) else os.path.normpath(os.path.join(folder, path))
            if path == "/dev/null":
                continue
            if not os.path.exists(path):
                raise ConfigError(f"env file {path} not found", hint="make it, or take it out of include")
            local.add_file(path)
        default = os.path.join(inner, ".env")
        if not named and os.path.isfile(default):
            local.add_file(default)
        found = self.model(files, inner, local, above)
        forms.defaults(found)
        if self._options.resolve_paths:
            forms.resolve_paths(found, inner, self._home)
        if self._options.resolve_environment:
            forms.resolve_environment(found, local.lookup)
        for section in ("services", *SECTIONS):
            for key, value in (found.get(section) or {}).items():
                target = model.setdefault(section, {})
                if target.get(key) not in (None, value) and key in target:
                    raise ConfigError(f"{section}.{key} conflicts with imported resource", files[0])
                target[key] = value


def _variable(mention: Mention, place: Place) -> Variable:
    given = {kind: mention.argument if mention.operator.lstrip(":") == kind else "" for kind in ("-", "+")}
    return Variable(mention.name, mention.operator.endswith("?"), given["-"], given["+"], place)


def _sources(documents: Sequence[Document]) -> dict[str, tuple[Place, ...]]:
    """Return where each value of the files stands, by dotted path: the file that won first, then those it overrode."""
    found: dict[str, list[Place]] = {}
    for document in documents:
        for path in _leaves(document.content, ()):
            placed = document.place(path)
            if placed is not None:
                found.setdefault(".".join(map(str, path)), []).insert(0, placed[1])
    return {path: tuple(places) for path, places in found.items()}


def _leaves(value: Any, path: Path) -> Iterator[Path]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not items:
        yield path
    for key, child in items:
        yield from _leaves(child, (*path, key))


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
