"""From files to one model: each file's variables, its `extends`, its `include`, then the files upon each other."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from compose.errors import ConfigError
from compose.spec import canonical as forms
from compose.spec import normalize as rules
from compose.spec.document import Document, Path, parse
from compose.spec.files import Environment, read, shown
from compose.spec.merging import MergeError, Tree, interpolate, merge, unify
from compose.spec.model import LoadOptions, Place, Variable
from compose.spec.problems import Problems
from compose.spec.sources import Source, Sources
from compose.spec.template import Mention
from compose.spec.validation import Schema

SECTIONS = ("networks", "volumes", "secrets", "configs", "models")


class Link(NamedTuple):
    """A step of a chain of `extends` or `include`: what leads where, and the place that says so."""

    place: Place | None
    source: str
    target: str


class Reader:
    """Reads files; what is wrong goes to `problems`, and where each value comes from to `sources`."""

    def __init__(self, options: LoadOptions, problems: Problems, sources: Sources, home: str) -> None:
        self.variables: dict[Variable, None] = {}
        self.unset: dict[str, dict[Place, None]] = {}
        self.obsolete: dict[Place, None] = {}
        self._options, self._problems, self._sources, self._home = options, problems, sources, home
        self._parsed: dict[str, list[Document]] = {}
        self._cyclic: set[str] = set()
        self._bases: dict[tuple[str, Environment], tuple[Tree, Document] | None] = {}

    def documents(self, file: str) -> list[Document]:
        """Return the documents of a file. Raises ConfigError."""
        if file not in self._parsed:
            name = shown(file, self._options.working_directory)
            data = self._options.file_text if file == "-" else read(file, name)
            found = parse(data, name)
            for document in found:
                if not isinstance(document.content, dict):
                    what = "the document is empty" if document.content is None else "a Compose file is a mapping"
                    raise ConfigError(what, name, document.root.line, document.root.column, "begin with `services:`")
            self._parsed[file] = found
        return self._parsed[file]

    def model(self, files: Sequence[str], folder: str, environment: Environment, above: tuple[Link, ...] = ()) -> Tree:
        """Return the model of `files` in canonical forms; `above` is how `include` leads here. Raises ConfigError."""
        model: Tree = {}
        for file in files:
            try:
                documents = self.documents(file)
            except ConfigError as error:
                if above and not error.line:
                    raise
                self._problems.add(error)
                self._problems.stop()
                continue
            for document in documents:
                content = self._content(document, environment)
                self._extend(content, document, file, folder, environment)
                reset(model, document.replaced)
                self._include(content, document, file, folder, environment, above)
                self._sources.add(Source(document, partial(self._pristine, document, environment)))
                try:
                    model = merge(model, content) if model else content
                except MergeError as error:
                    self._problems(str(error), error.path)
                    self._problems.stop()
                unify(model)
        return self._checked(model) if model else model

    def _checked(self, model: Tree) -> Tree:
        self._problems.model = model
        self._prune(model)
        model.pop("version", None)
        Schema.compose().validate(model, self._problems)
        self._prune(model)
        model.pop("include", None)
        forms.canonical(model, self._problems, interpolated=self._options.interpolate)
        self._prune(model)
        return model

    def _prune(self, model: Tree) -> None:
        """Take, in place, out of the model what has a problem, so that the following steps find only what is sound."""
        for path in self._problems.settle():
            if len(path) < 2 and (not path or rules.suggestion(str(path[0]), ("services", *SECTIONS))):
                self._problems.stop()
            prune(model, path)

    # --- one document

    def _content(self, document: Document, environment: Environment) -> Tree:
        """Return a document's content with its variables replaced."""
        interpolated = self._options.interpolate

        def report(message: str, path: Path) -> None:
            self._problems.at(message, path, document.value_place(path))

        def note(mention: Mention, path: Path) -> None:
            place = document.value_place(path)
            self.variables[_variable(mention, place)] = None
            if interpolated and not mention.operator and environment.lookup(mention.name) is None:
                self.unset.setdefault(mention.name, {})[place] = None

        if "version" in document.content:
            self.obsolete[document.place(("version",))[1]] = None
        if not interpolated:
            interpolate(document.content, lambda name: "x", _ignore, note)
        content: Tree = interpolate(document.content, environment.lookup, report, note, values=interpolated)
        return content

    def _pristine(self, document: Document, environment: Environment) -> Tree:
        """Return a document's content as `_content` does, without telling of anything."""
        values = self._options.interpolate
        content: Tree = interpolate(document.content, environment.lookup, _ignore, _ignore, values=values)
        return content

    # --- extends

    def _extend(self, content: Tree, document: Document, file: str, folder: str, environment: Environment) -> None:
        """Replace, in place, every service that extends another by the two merged."""
        services = content.get("services")
        if isinstance(services, dict):
            step = _Step(services, document, file, folder, environment)
            content["services"] = {name: self._extended(step, name, ("services", name), ()) for name in services}

    def _extended(self, step: _Step, name: str, at: Path, trail: tuple[Link, ...]) -> Any:
        """Return service `name` with what it extends, which becomes the model's `at`."""
        service = step.services.get(name)
        if not isinstance(service, dict) or "extends" not in service:
            return service
        own = {key: value for key, value in service.items() if key != "extends"}
        how = service["extends"]
        path = ("services", name, "extends")
        wanted = how.get("service") if isinstance(how, dict) else how
        other = how.get("file") if isinstance(how, dict) else None
        if not isinstance(wanted, str) or not (other is None or isinstance(other, str)):
            return service  # the schema tells what is wrong with it
        place = step.document.value_place((*path, "service") if isinstance(how, dict) else path)
        link = Link(place, f"{step.file}\0{name}", "")
        if link.source in {each.source for each in trail}:
            links = (*trail[[each.source for each in trail].index(link.source) :], link)
            if not self._cyclic & {each.source for each in links}:
                self._problems.at(f'service "{name}" extends itself{_chain(links)}', path, place)
            self._cyclic |= {each.source for each in links}
            return own
        trail = (*trail, link)
        base = self._base(step, wanted, other, name, at, trail)
        if not isinstance(base, dict):
            return own
        if step.document.replaced:
            reset({"services": {name: base}}, step.document.replaced)
        try:
            merged: Tree = {"services": {name: merge(base, own, ("services", name))}}
        except MergeError as error:
            self._problems.at(str(error), error.path, step.document.value_place(error.path))
            return own
        unify(merged)
        return merged["services"][name]

    def _base(self, step: _Step, wanted: str, other: str | None, name: str, at: Path, trail: tuple[Link, ...]) -> Any:
        """Return a copy of the service that is extended, in canonical forms where it is another file's."""
        path = ("services", name, "extends")
        folder = step.folder
        if other is not None:
            file = os.path.normpath(os.path.join(step.folder, os.path.expanduser(other)))
            known = self._other_file(file, step, (*path, "file"))
            if known is None:
                return None
            services, document = known
            step = _Step(services, document, file, os.path.dirname(file), step.environment)
        services = step.services
        if wanted not in services:
            origin = trail[-1].place
            hint = rules.suggestion(wanted, services)
            named = shown(step.file, self._options.working_directory)
            self._problems.at(f'service "{wanted}", which it extends, is not in {named}{hint}', path, origin)
            return None
        base = copy.deepcopy(self._extended(step, wanted, at, trail))
        if other is not None and isinstance(base, dict):
            holder: Tree = {"services": {wanted: base}}
            forms.canonical(holder, _ignore, interpolated=False)
            forms.resolve_paths(holder, self._relative(step.folder, folder), self._home)
        pristine = partial(self._pristine, step.document, step.environment)
        self._sources.add(Source(step.document, pristine, at, ("services", wanted)))
        return base

    def _other_file(self, file: str, step: _Step, path: Path) -> tuple[Tree, Document] | None:
        """Return the services of an extended file, and its last document; problems are told at `path`."""
        key = (file, step.environment)
        if key not in self._bases:
            self._bases[key] = None
            place = step.document.value_place(path)
            try:
                documents = self.documents(file)
            except ConfigError as error:
                self._tell(error, path, place)
                return None
            found: Tree = {}
            for document in documents:
                reset(found, document.replaced)
                content = self._content(document, step.environment)
                try:
                    found = unify(merge(found, content)) if found else content
                except MergeError as error:
                    self._problems.at(str(error), error.path, document.value_place(error.path))
            services = found.get("services")
            if isinstance(services, dict):
                self._bases[key] = services, documents[-1]
            else:
                self._problems.at(f"{shown(file, self._options.working_directory)} has no services", path, place)
        return self._bases[key]

    # --- include

    def _include(
        self,
        content: Tree,
        document: Document,
        file: str,
        folder: str,
        environment: Environment,
        above: tuple[Link, ...],
    ) -> None:
        """Take in, in place, the models that a file includes; what both define must be the same."""
        entries = content.get("include")
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            path: Path = ("include", index)
            how = {"path": entry} if isinstance(entry, str) else entry
            paths = _texts(how.get("path")) if isinstance(how, dict) else []
            if not paths or not isinstance(how, dict):
                continue
            place = document.value_place((*path, "path")) or document.value_place(path)
            files = [os.path.normpath(os.path.join(folder, os.path.expanduser(each))) for each in paths]
            links = (*above, Link(place, file, files[0]))
            sources = [link.source for link in links]
            if files[0] in sources:
                chain = _chain(links[sources.index(files[0]) :])
                self._problems.at(f"the file includes itself{chain}", path, place)
                self._problems.stop()
                continue
            base = how.get("project_directory")
            inner = os.path.normpath(os.path.join(folder, base)) if isinstance(base, str) else os.path.dirname(files[0])
            try:
                local = self._local_environment(how.get("env_file"), folder, inner, environment)
                found = self.model(files, inner, local, links)
            except ConfigError as error:
                self._tell(error, path, place)
                self._problems.stop()
                continue
            forms.defaults(found)
            forms.resolve_paths(found, self._relative(inner, folder), self._home)
            forms.resolve_environment(found, local.lookup)
            self._import(content, found, document, path, place)

    def _local_environment(self, named: Any, folder: str, inner: str, environment: Environment) -> Environment:
        local = environment.copy()
        paths = [os.path.normpath(os.path.join(folder, path)) for path in _texts(named)]
        default = os.path.join(inner, ".env")
        if not paths and os.path.isfile(default):
            paths = [default]
        for path in paths:
            if not os.path.exists(path):
                name = shown(path, self._options.working_directory)
                raise ConfigError(f"env file {name} not found", hint="make it, or take it out of include")
        local.add_files([path for path in paths if path != "/dev/null"])
        return local

    def _import(self, content: Tree, found: Tree, document: Document, path: Path, place: Place | None) -> None:
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

    # --- telling

    def _tell(self, error: ConfigError, path: Path, place: Place | None) -> None:
        """Note a problem of a file that another leads to: at its own place, or where it is led to."""
        if error.line:
            self._problems.add(error, path)
        else:
            self._problems.at(str(error), path, place)

    def _relative(self, folder: str, start: str) -> str:
        """Return what paths of `folder` are relative to: itself, or, when paths stay relative, its way from `start`."""
        return folder if self._options.resolve_paths else os.path.relpath(folder, start)


class _Step(NamedTuple):
    """The services among which `extends` looks for a name, and where they are from."""

    services: Tree
    document: Document
    file: str
    folder: str
    environment: Environment


def reset(tree: Any, paths: Sequence[Path]) -> None:
    """Take, in place, what later files tag `!reset` or `!override` out of what came before (specification, "Merge")."""
    for path in paths:
        node = tree
        for step in path[:-1]:
            node = node.get(step) if isinstance(node, dict) and isinstance(step, str) else None
        if isinstance(node, dict) and path:
            node.pop(path[-1], None)


def prune(model: Tree, path: Path) -> None:
    """Take, in place, out of the model what has a problem: the attribute, or what it is in where that is all there is."""
    holder: Any = model
    for step in path[:-1][:2]:
        holder = holder.get(step) if isinstance(holder, dict) else None
    if not isinstance(holder, dict) or not path:
        return
    last = path[:3][-1]
    if len(path) == 2 and path[0] in ("services", *SECTIONS) and last in holder:
        holder[last] = {}  # others may refer to it
    else:
        holder.pop(last, None)


def _ignore(said: Any, path: Path) -> None:
    return None


def _texts(value: Any) -> list[str]:
    entries = value if isinstance(value, list) else [value]
    return [each for each in entries if isinstance(each, str)]


def _chain(links: Sequence[Link]) -> str:
    """Return the further lines that show how a chain leads back to where it was."""
    lines = []
    for link, following in zip(links, (*links[1:], None), strict=True):
        if link.target:
            lines.append(f"{link.place}: {_short(link.source)} includes {_short(link.target)}")
        elif following:
            lines.append(f"{link.place}: {_short(link.source)} extends {_short(following.source)}")
    return "".join(f"\n    {line}" for line in lines)


def _short(name: str) -> str:
    file, _, service = name.partition("\0")
    return service or os.path.basename(file)


def _variable(mention: Mention, place: Place) -> Variable:
    given = {kind: mention.argument if mention.operator.lstrip(":") == kind else "" for kind in ("-", "+")}
    return Variable(mention.name, mention.operator.endswith("?"), given["-"], given["+"], place)
