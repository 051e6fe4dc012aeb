"""A mount made in advance (prefork), and the check whether a container's document asks for exactly that."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.hints import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.oci.types import OciLinux, OciMount, OciPreforkTemplate


class PremadeMount:
    """A detached mount tree: the template's `entries` at and below `point`, with masked and read-only paths applied."""

    def __init__(self, point: str, document: OciPreforkTemplate) -> None:
        self.entries = _below(point, document.get("mounts") or (), lambda entry: entry["destination"])
        self.hidden, self.protected = _paths(point, document)
        self.point = point
        self.descriptor = -1

    def fits(self, mounts: Sequence[OciMount], linux_settings: OciLinux) -> bool:
        """Whether a document with `mounts` and these `linux` settings asks for this tree at `point`."""
        asked = _below(self.point, mounts, lambda entry: entry["destination"])
        is_closed = bool(self.hidden or self.protected)  # further mounts would have to be masked and protected too
        return (
            asked[: len(self.entries)] == self.entries
            and (len(asked) == len(self.entries) or not is_closed)
            and (self.hidden, self.protected) == _paths(self.point, linux_settings)
        )


def _paths(point: str, settings: OciPreforkTemplate | OciLinux) -> tuple[list[str], list[str]]:
    hidden, protected = settings.get("maskedPaths") or (), settings.get("readonlyPaths") or ()
    return _below(point, hidden, str), _below(point, protected, str)


def _below(point: str, things: Sequence[Any], path_of: Any) -> list[Any]:
    """Return the `things` whose path is `point` or below it."""
    return [thing for thing in things if f"{path_of(thing)}/".startswith(f"{point}/")]
