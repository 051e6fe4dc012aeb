"""From files to one model: each document's `extends`, its `include`, then the documents merged in order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from compose.errors import ConfigError
from compose.loading import canonical as forms
from compose.loading import normalize as rules
from compose.loading.chain import MAXIMUM_DEPTH, ChainStep, chain_text
from compose.loading.document import Path, YamlDocument
from compose.loading.documents import Documents
from compose.loading.extension import Extension
from compose.loading.files import Environment, shown
from compose.loading.merging import MergeError, Model, merge, reset, unify
from compose.loading.model import SECTIONS, LoadOptions, SourceLocation
from compose.loading.paths import on_this_machine, resolve_paths
from compose.loading.problems import Problems, prune
from compose.loading.sources import DocumentSource, Provenance
from compose.loading.template import Lookup
from compose.loading.validation import Schema

MAXIMUM_INCLUDES = 1000
"""How many files may be included, repeated ones counted each time: the number can double with every level."""


class Reader:
    """Reads files; what is wrong goes to `problems`, and where each value comes from to `sources`.

    `ignored` are the places of what `include` doesn't know.
    """

    def __init__(
        self, options: LoadOptions, documents: Documents, problems: Problems, sources: Provenance, home: str
    ) -> None:
        self.ignored: dict[SourceLocation, str] = {}
        self._options, self._documents, self._home = options, documents, home
        self._problems, self._sources = problems, sources
        self._extension = Extension(options, documents, problems, sources, home)
        self._schema = Schema.compose()
        self.inclusions: dict[str, Environment] = {}
        self._included = 0

    def model(
        self, files: Sequence[str], folder: str, environment: Environment, above: tuple[ChainStep, ...] = ()
    ) -> Model:
        """Return the model of `files` in canonical forms; `above` is how `include` leads here. Raises ConfigError."""
        model: Model = {}
        for file in files:
            try:
                documents = self._documents.of(file)
            except ConfigError as error:
                if above and not error.line:
                    raise
                self._problems.add(error)
                self._problems.stop()
                continue
            for document in documents:
                content = self._documents.content(document, environment)
                self._extension.extend(content, document, file, folder, environment)
                reset(model, document.replaced)
                self._include(content, document, file, folder, environment, above)
                self._sources.add(DocumentSource(document, partial(self._documents.pristine, document, environment)))
                try:
                    model = merge(model, content) if model else content
                except MergeError as error:
                    self._problems(str(error), error.path)
                    self._problems.stop()
                self._check(unify(model))
        return model

    def _check(self, model: Model) -> None:
        """Check the merged model after a document and bring it into canonical form, in place: the next is merged into that."""
        bad: list[Path] = []

        def report(message: str, path: Path) -> None:
            self._problems(message, path)
            bad.append(path)  # also those not reported because an earlier file has the same

        self._problems.model = model
        self._prune(model)
        self._schema.validate(model, report)
        model.pop("version", None)
        self._prune(model)
        for path in bad:
            prune(model, path)
        forms.canonical(model, self._problems, interpolated=self._options.interpolate)
        self._prune(model)

    def _prune(self, model: Model) -> None:
        """Remove, in place, what has a problem, so that later steps only see valid values."""
        for path in self._problems.settle():
            if len(path) < 2 and (not path or rules.suggestion(str(path[0]), ("services", *SECTIONS))):
                self._problems.stop()
            prune(model, path)

    # --- include

    def _include(
        self,
        content: Model,
        document: YamlDocument,
        file: str,
        folder: str,
        environment: Environment,
        above: tuple[ChainStep, ...],
    ) -> None:
        """Merge, in place, the models that a file includes; what both define must be equal."""
        entries = content.pop("include", None)
        if entries is not None and not isinstance(entries, list):
            self._problems.at("must be a list", ("include",), document.value_place(("include",)))
            self._problems.stop()
            return
        for index, entry in enumerate(entries or ()):
            path: Path = ("include", index)
            how = self._inclusion(entry, document, path)
            place = document.value_place((*path, "path")) or document.value_place(path)
            if how is None or not how.paths:
                continue
            try:
                paths = [on_this_machine(each, self._options.fetch) for each in how.paths]
            except ConfigError as error:
                self._problems.lead(error, path, place)
                self._problems.stop()
                continue
            files = [os.path.normpath(os.path.join(folder, each)) for each in paths]
            links = (*above, ChainStep(place, file, files[0]))
            sources = [link.source for link in links]
            self._included += 1
            problem = ""
            if files[0] in sources:
                problem = f"the file includes itself{chain_text(links[sources.index(files[0]) :])}"
            elif len(links) > MAXIMUM_DEPTH or self._included > MAXIMUM_INCLUDES:
                problem = f"more than {MAXIMUM_INCLUDES} files are included, or {MAXIMUM_DEPTH} levels of them"
            if problem:
                self._problems.at(problem, path, place)
                self._problems.stop()
                continue
            inner = os.path.dirname(files[0])
            if how.project_directory:
                inner = os.path.normpath(os.path.join(folder, how.project_directory))
            try:
                local = self._local_environment(how.env_files, folder, inner, environment)
                self.inclusions[shown(files[0], self._options.working_directory)] = local
                found = self.model(files, inner, local, links)
            except ConfigError as error:
                self._problems.lead(error, path, place)
                self._problems.stop()
                continue
            forms.defaults(found)
            resolve_paths(found, _base(how.project_directory, inner, folder), self._home)
            _resolve_environment(found, local.lookup)
            self._import(content, found, document, path, place)

    def _inclusion(self, entry: Any, document: YamlDocument, path: Path) -> _Inclusion | None:
        """Return the parsed entry of `include`, None after reporting a problem."""
        if isinstance(entry, str):
            return _Inclusion([entry])
        if not isinstance(entry, dict):
            self._problems.at("must be a path or a mapping", path, document.value_place(path))
            self._problems.stop()
            return None
        is_good = True
        for key, value in entry.items():
            at = (*path, key)
            if key not in ("path", "project_directory", "env_file"):
                self.ignored[document.place(at)[1]] = str(key)
                continue
            texts = value if isinstance(value, list) and key != "project_directory" else [value]
            if value is not None and not all(isinstance(each, str) for each in texts):
                expected = "a string" if key == "project_directory" else "a string or a list of them"
                self._problems.at(f"must be {expected}", at, document.value_place(at))
                self._problems.stop()
                is_good = False
        paths, env_files = (_texts(entry.get(key)) for key in ("path", "env_file"))
        return _Inclusion(paths, entry.get("project_directory") or "", env_files) if is_good else None

    def _local_environment(
        self, named: Sequence[str], folder: str, inner: str, environment: Environment
    ) -> Environment:
        local = environment.copy()
        paths = [os.path.normpath(os.path.join(folder, path)) for path in named]
        default = os.path.join(inner, ".env")
        if not paths and os.path.isfile(default):
            paths = [default]
        for path in paths:
            if not os.path.exists(path):
                name = shown(path, self._options.working_directory)
                raise ConfigError(f"env file {name} not found", hint="make it, or take it out of include")
        local.add_files(paths)
        return local

    def _import(
        self, content: Model, found: Model, document: YamlDocument, path: Path, place: SourceLocation | None
    ) -> None:
        for section in ("services", *SECTIONS):
            target = content.setdefault(section, {}) if found.get(section) else content.get(section)
            for key, value in (found.get(section) or {}).items():
                if not isinstance(target, dict):
                    return
                if key in target and target[key] != value:
                    own = document.place((section, key))
                    where = f" at {own[1]}" if own is not None and own[0] == 2 else ""
                    hint = (
                        "give one of them another name, or change the included one in a file of its own, after this one"
                    )
                    self._problems.at(
                        f"{section}.{key} of the included file conflicts with what is defined{where}\n    {hint}",
                        path,
                        place,
                    )
                target[key] = value


class _Inclusion(NamedTuple):
    """What an entry of `include` says: paths as they are written."""

    paths: Sequence[str]
    project_directory: str = ""
    env_files: Sequence[str] = ()


def _texts(value: Any) -> list[str]:
    entries = value if isinstance(value, list) else [value]
    return [each for each in entries if isinstance(each, str)]


def _resolve_environment(model: Model, lookup: Lookup) -> None:
    """Set, in place, variables that lists of an included model name without a value.

    As in the reference, those of mappings wait for the variables of the whole project.
    """
    for service in (model.get("services") or {}).values():
        given = service.get("environment")
        if isinstance(given, list):
            values = [lookup(each) if isinstance(each, str) else None for each in given]
            service["environment"] = [
                each if value is None else f"{each}={value}" for each, value in zip(given, values, strict=True)
            ]
    forms.resolve_environment({section: model.get(section) for section in forms.FILES}, lookup)


def _base(project_directory: str, inner: str, folder: str) -> str:
    """Return what the paths of an included model are relative to: as in the reference, relative to `folder` itself.

    A project directory that is not there stands for the folder above it.
    """
    if os.path.isabs(project_directory):
        return inner
    return os.path.relpath(inner if os.path.isdir(inner) else os.path.dirname(inner), folder)
