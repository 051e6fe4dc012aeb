"""The documents of a project's files with their variables replaced, and where each variable is used."""

from __future__ import annotations

from typing import Any

from compose.errors import ConfigError
from compose.loading.document import Path, YamlDocument, parse
from compose.loading.files import Environment, read, shown
from compose.loading.merging import Model, interpolate
from compose.loading.model import LoadOptions, SourceLocation, Variable
from compose.loading.problems import Problems
from compose.loading.template import Mention


class Documents:
    """Reads files, each once; what is wrong with a variable goes to `problems`.

    `variables` are those that the files mention, `unset` the places of those without a value, `obsolete` those of
    `version`.
    """

    def __init__(self, options: LoadOptions, problems: Problems) -> None:
        self.variables: dict[Variable, None] = {}
        self.unset: dict[str, dict[SourceLocation, None]] = {}
        self.obsolete: dict[SourceLocation, None] = {}
        self._options, self._problems = options, problems
        self._parsed: dict[str, list[YamlDocument]] = {}

    def of(self, file: str) -> list[YamlDocument]:
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

    def content(self, document: YamlDocument, environment: Environment) -> Model:
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
        content: Model = interpolate(document.content, environment.lookup, report, note, values=interpolated)
        return content

    def pristine(self, document: YamlDocument, environment: Environment) -> Model:
        """Return a document's content as `content` does, without reporting problems."""
        values = self._options.interpolate
        content: Model = interpolate(document.content, environment.lookup, _ignore, _ignore, values=values)
        return content


def _ignore(said: Any, path: Path) -> None:
    return None


def _variable(mention: Mention, place: SourceLocation) -> Variable:
    given = {kind: mention.argument if mention.operator.lstrip(":") == kind else "" for kind in ("-", "+")}
    return Variable(mention.name, mention.operator.endswith("?"), given["-"], given["+"], place)
