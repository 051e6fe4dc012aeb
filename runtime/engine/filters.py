"""Docker's `filters` parameters. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Mapping, Sequence

from runtime.engine.times import moment
from runtime.errors import BadRequestError

MAP_OF_LISTS = '{"name": ["value"]}'
Filters = Mapping[str, Sequence[str]]


def parse(text: str | None) -> dict[str, list[str]]:
    """Parse the query parameter `filters`: `{"key": ["value"]}` or the older `{"key": {"value": true}}`."""
    if not text:
        return {}
    try:
        document = json.loads(text)
        found = {
            key: [v for v in values if not isinstance(values, dict) or values[v]]
            for key, values in document.items()
            if isinstance(values, list | dict)
        }
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadRequestError("invalid filter", f"write {MAP_OF_LISTS}, not {text}") from error
    if len(found) < len(document) or any(not isinstance(v, str) for values in found.values() for v in values):
        raise BadRequestError("invalid filter", f"write {MAP_OF_LISTS}, not {text}")
    return found


def check_known(filters: Filters, known: Container[str], failure: str = "") -> None:
    """Raise BadRequestError, whose message begins with `failure`, when one of `filters` is none of the `known`."""
    for key in filters:
        if key not in known:
            raise BadRequestError(f"{failure}invalid filter '{key}'")


def flag(name: str, values: Sequence[str]) -> bool:
    """Parse the value of a boolean filter. Raises BadRequestError."""
    given = {value.lower() for value in values}
    if given <= {"1", "true", "t"}:
        return True
    if given <= {"0", "false", "f"}:
        return False
    raise BadRequestError(f"invalid filter '{name}=[{' '.join(values)}]'", "write true or false")


def labels_match(labels: Mapping[str, str], wanted: Iterable[str]) -> bool:
    """Whether `labels` have all of `wanted` ("key" or "key=value")."""
    for one in wanted:
        key, equals, value = one.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


Report = Callable[[str, str], None]
"""Takes what a prune has removed, by the ID that its result has for it, and how: DELETED or UNTAGGED."""
DELETED, UNTAGGED = "deleted", "untagged"


def may_be_pruned(filters: Filters, labels: Mapping[str, str], created_ns: int, now_ns: int) -> bool:
    """Whether the filters of a prune (`label`, `label!`, `until`: created before that time) select an object.

    Raises BadRequestError.
    """
    if not labels_match(labels, filters.get("label") or ()):
        return False
    if any(labels_match(labels, [one]) for one in filters.get("label!") or ()):
        return False
    return all(created_ns < moment(text, now_ns) for text in filters.get("until") or ())
