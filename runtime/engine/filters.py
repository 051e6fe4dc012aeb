"""Docker's `filters` parameters. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from runtime.errors import BadRequestError


def parse(text: str | None) -> dict[str, list[str]]:
    """Return the filters of a query parameter: `{"key": ["value"]}` or the older `{"key": {"value": true}}`."""
    if not text:
        return {}
    try:
        document = json.loads(text)
        return {
            key: [v for v in values if not isinstance(values, dict) or values[v]] for key, values in document.items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise BadRequestError(f"invalid filters: {text}") from error


def labels_match(labels: Mapping[str, str], wanted: Iterable[str]) -> bool:
    """Whether `labels` have all of `wanted` ("key" or "key=value")."""
    for one in wanted:
        key, equals, value = one.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


def any_prefix(text: str, prefixes: Sequence[str]) -> bool:
    """Whether `text` begins with one of `prefixes`; true when there are none."""
    return not prefixes or any(text.startswith(prefix) for prefix in prefixes)
