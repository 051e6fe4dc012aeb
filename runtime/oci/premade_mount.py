"""A mount tree that was made before it was known for which container, and whether it is what one asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runtime.hints import Any


class PremadeMount:
    """A detached mount, made of `entries` of a document's mounts, with what is hidden and protected below its point."""

    def __init__(self, point: str, document: Mapping[str, Any]) -> None:
        self.entries = _below(point, document.get("mounts") or (), lambda entry: entry["destination"])
        self.hidden, self.protected = _paths(point, document)
        self.point = point
        self.descriptor = -1

    def fits(self, mounts: Sequence[Mapping[str, Any]], linux_settings: Mapping[str, Any]) -> bool:
        """Whether the tree is what a document with `mounts` asks for at its point."""
        asked = _below(self.point, mounts, lambda entry: entry["destination"])
        is_closed = bool(self.hidden or self.protected)  # what else is mounted there is to be hidden and protected too
        return (
            asked[: len(self.entries)] == self.entries
            and (len(asked) == len(self.entries) or not is_closed)
            and (self.hidden, self.protected) == _paths(self.point, linux_settings)
        )


def _paths(point: str, settings: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    hidden, protected = (_below(point, settings.get(key) or (), str) for key in ("maskedPaths", "readonlyPaths"))
    return hidden, protected


def _below(point: str, things: Sequence[Any], path_of: Any) -> list[Any]:
    """Return those of `things` whose path is `point` or below it."""
    return [thing for thing in things if f"{path_of(thing)}/".startswith(f"{point}/")]
