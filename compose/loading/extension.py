"""`extends`: services with what they take from others, of the same file and of other files (specification, "extends")."""

from __future__ import annotations

import copy
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
from compose.loading.files import Environment, shown
from compose.loading.merging import MergeError, Model, merge, reset, unify
from compose.loading.model import LoadOptions
from compose.loading.paths import check_local, expanded, resolve_paths
from compose.loading.problems import Problems, prune
from compose.loading.sources import DocumentSource, Provenance


class _Step(NamedTuple):
    """The services among which `extends` looks for a name, where they are from, and what is reset in what they extend.

    `resets` are the paths that the files on the way here tag: as in the reference, each counts for every service of its
    name on the way.
    """

    services: Model
    document: YamlDocument
    file: str
    folder: str
    environment: Environment
    resets: tuple[Sequence[Path], ...]
    is_extended: bool = False


class _Extended(NamedTuple):
    """A service with what it extends, and the services that it is made of: step and name of each, the deepest first."""

    service: Any
    parts: tuple[tuple[_Step, str], ...] = ()


class Extension:
    """Extends services; what is wrong goes to `problems`, and where each value comes from to `sources`."""

    def __init__(
        self, options: LoadOptions, documents: Documents, problems: Problems, sources: Provenance, home: str
    ) -> None:
        self._options, self._documents, self._home = options, documents, home
        self._problems, self._sources = problems, sources
        self._files: dict[tuple[str, Environment], tuple[Model, YamlDocument] | None] = {}
        self._known: dict[tuple[str, str, tuple[int, ...]], _Extended] = {}
        self._is_too_deep = False

    def extend(self, content: Model, document: YamlDocument, file: str, folder: str, environment: Environment) -> None:
        """Replace, in place, every service of a document that extends another by the two merged."""
        services = content.get("services")
        if not isinstance(services, dict):
            return
        self._known.clear()
        step = _Step(services, document, file, folder, environment, (document.replaced,))
        content["services"] = {}
        for name in services:
            content["services"][name], parts = self._extended(step, name, ())
            for part, origin in parts:
                pristine = partial(self._documents.pristine, part.document, part.environment)
                self._sources.add(DocumentSource(part.document, pristine, ("services", name), ("services", origin)))

    def _extended(self, step: _Step, name: str, trail: tuple[ChainStep, ...]) -> _Extended:
        service = step.services.get(name)
        if not isinstance(service, dict) or "extends" not in service:
            return _Extended(service)
        key = (step.file, name, tuple(map(id, step.resets)))
        if key not in self._known:
            self._known[key] = self._extend(step, name, service, trail)
        return self._known[key]

    def _extend(self, step: _Step, name: str, service: Model, trail: tuple[ChainStep, ...]) -> _Extended:
        own = {key: value for key, value in service.items() if key != "extends"}
        how = service["extends"]
        path = ("services", name, "extends")
        wanted = how.get("service") if isinstance(how, dict) else how
        other = how.get("file") if isinstance(how, dict) else None
        if not isinstance(wanted, str) or not (other is None or isinstance(other, str)):
            return _Extended(service)  # the schema check reports what is wrong with it
        place = step.document.value_place((*path, "service") if isinstance(how, dict) else path)
        link = ChainStep(place, f"{step.file}\0{name}", "")
        cycle = [number for number, each in enumerate(trail) if each.source == link.source]
        if cycle:
            links = (*trail[cycle[0] :], link)
            self._problems.at(f'service "{name}" extends itself{chain_text(links)}', path, place)
            return _Extended(own)
        if len(trail) >= MAXIMUM_DEPTH:
            if not self._is_too_deep:
                problem = f"services extend each other more than {MAXIMUM_DEPTH} levels deep"
                self._problems.at(problem, path, place)
            self._is_too_deep = True
            self._problems.stop()
            return _Extended(own)
        found = self._base(step, wanted, other, name, (*trail, link))
        if found is None:
            return _Extended(own)
        base, parts, resets = found
        if base is None:
            return _Extended(service)  # as in the reference, `extends` stays where there is nothing to extend
        for paths in resets:
            reset({"services": {name: base}}, paths)
        try:
            merged: Model = {"services": {name: merge(base, own, ("services", name))}}
        except MergeError as error:
            self._problems.at(str(error), error.path, step.document.value_place(error.path))
            return _Extended(own)
        return _Extended(unify(merged)["services"][name], parts)

    def _base(
        self, step: _Step, wanted: str, other: str | None, name: str, trail: tuple[ChainStep, ...]
    ) -> tuple[Model | None, tuple[tuple[_Step, str], ...], tuple[Sequence[Path], ...]] | None:
        """Return a copy of the extended service, its parts, and the paths to reset in it.

        None after reporting a problem.
        """
        path = ("services", name, "extends")
        folder = step.folder
        if other is not None:
            # as in the reference, "~" is a home only in files that are extended themselves
            file = expanded(other, self._home) if step.is_extended else other
            file = os.path.normpath(os.path.join(step.folder, file))
            known = self._other_file(other, file, step, (*path, "file"))
            if known is None:
                return None
            services, document = known
            resets = (*step.resets, document.replaced)
            step = _Step(services, document, file, os.path.dirname(file), step.environment, resets, is_extended=True)
        origin = trail[-1].place
        named = shown(step.file, self._options.working_directory)
        if wanted not in step.services:
            hint = rules.suggestion(wanted, step.services)
            self._problems.at(f'service "{wanted}", which it extends, is not in {named}{hint}', path, origin)
            return None
        extended = self._extended(step, wanted, trail)
        base = copy.deepcopy(extended.service)
        if base is not None and not isinstance(base, dict):
            if other is not None:
                self._problems.at(f'service "{wanted}" of {named}, which it extends, must be a mapping', path, origin)
            return None
        if other is not None and base is not None:
            resolve_paths({"services": {wanted: base}}, os.path.relpath(step.folder, folder), self._home)
        return base, (*extended.parts, (step, wanted)), step.resets

    def _other_file(self, named: str, file: str, step: _Step, path: Path) -> tuple[Model, YamlDocument] | None:
        """Return the services of the extended file `named`, and its last document; problems are reported at `path`."""
        key = (file, step.environment)
        if key not in self._files:
            self._files[key] = None
            place = step.document.value_place(path)
            try:
                check_local(named)
                documents = self._documents.of(file)
            except ConfigError as error:
                self._problems.lead(error, path, place)
                return None
            found: Model = {}
            for document in documents:
                reset(found, document.replaced)
                content = self._documents.content(document, step.environment)
                try:
                    found = unify(merge(found, content)) if found else content
                except MergeError as error:
                    self._problems.at(str(error), error.path, document.value_place(error.path))
                if isinstance(found.get("services"), dict):
                    self._canonical({"services": found["services"]}, document)
            services = found.get("services")
            if isinstance(services, dict):
                self._files[key] = services, documents[-1]
            else:
                self._problems.at(f"{shown(file, self._options.working_directory)} has no services", path, place)
        return self._files[key]

    def _canonical(self, model: Model, document: YamlDocument) -> None:
        """Convert all that an extended file defines to canonical forms, in place, whichever service is extended."""
        bad: list[Path] = []

        def report(message: str, path: Path) -> None:
            self._problems.at(message, path, document.value_place(path))
            bad.append(path)

        forms.canonical(model, report, interpolated=self._options.interpolate)
        for path in bad:
            prune(model, path)
