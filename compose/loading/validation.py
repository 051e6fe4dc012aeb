"""A model against schemas/compose.json: every problem with its path and the nearest known name. Pure.

This evaluates the part of JSON Schema that our schema uses, so that validating costs no import; the tests hold it
against the `jsonschema` package.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from compose.loading.document import Path
from compose.loading.merging import Report
from compose.loading.scalars import Timestamp

Check = Callable[[Any, Path, Report], None]
KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "string": ("a string", lambda value: isinstance(value, str)),
    "integer": (
        "a whole number",
        lambda value: (
            (isinstance(value, int) and not isinstance(value, bool))
            or (isinstance(value, float) and value.is_integer())
        ),
    ),
    "number": ("a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool)),
    "boolean": ("true or false", lambda value: isinstance(value, bool)),
    "null": ("empty", lambda value: value is None),
    "object": ("a mapping", lambda value: isinstance(value, dict)),
    "array": ("a list", lambda value: isinstance(value, list)),
}


def schema_text() -> str:
    """Return the text of our schema."""
    import os

    import schemas

    with open(os.path.join(os.path.dirname(schemas.__file__), "compose.json")) as file:
        return file.read()


class Schema:
    """A JSON Schema, each of its parts compiled once when it is first needed."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._compiled: dict[int, Check] = {}

    @classmethod
    def compose(cls) -> Schema:
        """Return the schema of the Compose file."""
        return cls(json.loads(schema_text()))

    def validate(self, model: Any, report: Report) -> None:
        """Call `report` for every problem of `model`."""
        self._check(self.document)(model, (), report)

    def is_valid(self, model: Any) -> bool:
        """Return whether `model` has no problem."""
        problems: list[str] = []
        self.validate(model, lambda message, path: problems.append(message))
        return not problems

    def _check(self, schema: dict[str, Any]) -> Check:
        while "$ref" in schema:
            schema = self.document["$defs"][schema["$ref"].rpartition("/")[2]]
        key = id(schema)
        if key not in self._compiled:
            self._compiled[key] = lambda value, path, report: self._compiled[key](value, path, report)
            self._compiled[key] = self._compile(schema)
        return self._compiled[key]

    def _compile(self, schema: dict[str, Any]) -> Check:
        checks: list[Check] = []
        names = schema.get("type")
        if names is not None:
            checks.append(_type([names] if isinstance(names, str) else names))
        if "enum" in schema:
            checks.append(_enum(schema["enum"]))
        if "pattern" in schema:
            checks.append(_pattern(schema["pattern"]))
        if "minimum" in schema or "maximum" in schema:
            checks.append(_bounds(schema.get("minimum"), schema.get("maximum")))
        if "oneOf" in schema:
            checks.append(self._one_of(schema["oneOf"]))
        if "anyOf" in schema:
            checks.append(_any_required([name for branch in schema["anyOf"] for name in branch["required"]]))
        if "properties" in schema or "patternProperties" in schema or "required" in schema:
            checks.append(self._mapping(schema))
        if "items" in schema:
            checks.append(self._items(schema["items"]))
        if schema.get("uniqueItems"):
            checks.append(_unique)
        if len(checks) == 1:
            return checks[0]

        def every(value: Any, path: Path, report: Report) -> None:
            problems = 0

            def counted(message: str, at: Path) -> None:
                nonlocal problems
                problems += 1
                report(message, at)

            for check in checks:
                check(value, path, counted)
                if problems:
                    return

        return every

    def _items(self, schema: dict[str, Any]) -> Check:
        check = self._check(schema)

        def items(value: Any, path: Path, report: Report) -> None:
            if isinstance(value, list):
                for index, each in enumerate(value):
                    check(each, (*path, index), report)

        return items

    def _mapping(self, schema: dict[str, Any]) -> Check:
        properties = schema.get("properties", {})
        compiled: dict[str, Check] = {}  # of properties that were seen: a file has few of them
        patterns = [
            (re.compile(key).search, self._check(each)) for key, each in schema.get("patternProperties", {}).items()
        ]
        is_open = schema.get("additionalProperties", True)
        required = schema.get("required", ())

        def mapping(value: Any, path: Path, report: Report) -> None:
            if not isinstance(value, dict):
                return
            for name in required:
                if name not in value:
                    report(f'"{name}" is missing', path)
            for key, each in value.items():
                check = compiled.get(key)
                if check is None and key in properties:
                    check = compiled[key] = self._check(properties[key])
                if check is not None:
                    check(each, (*path, key), report)
                    continue
                matched = False
                for search, pattern_check in patterns:
                    if search(key):
                        matched = True
                        pattern_check(each, (*path, key), report)
                if not matched and not is_open:
                    report(_unknown(key, list(properties)), (*path, key))

        return mapping

    def _one_of(self, branches: list[dict[str, Any]]) -> Check:
        compiled = []
        for branch in branches:
            resolved = branch
            while "$ref" in resolved:
                resolved = self.document["$defs"][resolved["$ref"].rpartition("/")[2]]
            names = resolved.get("type", [])
            compiled.append(([names] if isinstance(names, str) else names, self._check(branch)))
        expected = [name for names, _ in compiled for name in names]

        def one_of(value: Any, path: Path, report: Report) -> None:
            fitting = [check for names, check in compiled if any(KINDS[name][1](value) for name in names)]
            if not fitting:
                report(f"must be {_or(expected)}, not {_kind(value)}", path)
            else:
                fitting[0](value, path, report)

        return one_of


def _or(names: list[str]) -> str:
    return " or ".join(dict.fromkeys(KINDS[name][0] for name in names))


def _kind(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, Timestamp):
        return f"the date {value}, which quotes would make a string"
    return f'the string "{value}"' if isinstance(value, str) else f"the number {value}"


def _type(names: list[str]) -> Check:
    tests = [KINDS[name][1] for name in names]

    def check(value: Any, path: Path, report: Report) -> None:
        for test in tests:
            if test(value):
                return
        report(f"must be {_or(names)}, not {_kind(value)}", path)

    return check


def _enum(allowed: list[Any]) -> Check:
    def check(value: Any, path: Path, report: Report) -> None:
        if value not in allowed:
            from compose.loading.normalize import suggestion

            report(
                f"must be {' or '.join(map(str, allowed))}, not {_kind(value)}" + suggestion(str(value), allowed), path
            )

    return check


def _pattern(pattern: str) -> Check:
    search = re.compile(pattern).search

    def check(value: Any, path: Path, report: Report) -> None:
        if isinstance(value, str) and not search(value):
            report(f'"{value}" does not match {pattern}', path)

    return check


def _bounds(minimum: float | None, maximum: float | None) -> Check:
    def check(value: Any, path: Path, report: Report) -> None:
        if isinstance(value, int | float):
            if minimum is not None and value < minimum:
                report(f"must be at least {minimum}, not {value}", path)
            if maximum is not None and value > maximum:
                report(f"must be at most {maximum}, not {value}", path)

    return check


def _any_required(names: list[str]) -> Check:
    def check(value: Any, path: Path, report: Report) -> None:
        if isinstance(value, dict) and not any(name in value for name in names):
            report(f"one of {', '.join(names)} is needed", path)

    return check


def _unique(value: Any, path: Path, report: Report) -> None:
    if not isinstance(value, list):
        return
    seen = set()
    for index, each in enumerate(value):
        key = (type(each) is bool, each) if isinstance(each, str | int | float) else json.dumps(each, sort_keys=True)
        if key in seen:
            report("is in the list already", (*path, index))
        seen.add(key)


def _unknown(key: str, known: list[str]) -> str:
    from compose.loading.normalize import suggestion

    return "is not known here" + suggestion(key, known)
