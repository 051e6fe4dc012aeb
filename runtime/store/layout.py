"""The paths of records by kind of object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.paths import Paths

STATE = "state.json"
LAYER = "layer.json"
"""A layer's record, next to its files: its size, and the registries that have its blob (`runtime.image.layers`)."""


@dataclass(frozen=True)
class Layout:
    """The records of one kind.

    With `record`, each object has a directory below `folder`, with its record by that name; otherwise the record is the
    file `<id>.json` in `folder`. The members `apart` of a document, which change at each start and exit of a container,
    are in a second record, `state.json`. `is_named`: documents have a unique "name". `is_durable`: they are synced.
    """

    kind: str
    folder: Path
    record: str = ""
    apart: tuple[str, ...] = ()
    is_named: bool = False
    is_durable: bool = True

    def path(self, id: str) -> Path:
        """Return the path of the record of `id`."""
        if self.record:
            return self.folder / id / self.record
        return self.folder / f"{id.replace(':', '-')}.json"

    def state_path(self, id: str) -> Path:
        """Return the path of the second record of `id`."""
        return self.folder / id / STATE

    def id_of(self, entry: str) -> str:
        """Return the ID for a directory entry of `folder`."""
        if self.record:
            return entry
        return entry.removesuffix(".json").replace("sha256-", "sha256:", 1)


def layouts(paths: Paths) -> dict[str, Layout]:
    """Return the layouts of a state root by kind."""
    found = (
        Layout("container", paths.containers, "container.json", apart=("state", "ports"), is_named=True),
        Layout("volume", paths.volumes, "volume.json"),
        Layout("network", paths.networks, is_named=True),
        Layout("image", paths.images),
        # endpoints, like network namespaces, do not survive a reboot
        Layout("endpoint", paths.endpoints, is_durable=False),
    )
    return {layout.kind: layout for layout in found}
