"""Where the records of each kind of object lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.paths import Paths

STATE = "state.json"
LAYER = "layer.json"
"""A layer's record, beside its files: its size, and where its blob is known (`runtime.image.layers`)."""


@dataclass(frozen=True)
class Layout:
    """The place of one kind's records.

    With `record`, an object has a directory of its own below `folder`, and its record has that name there; without, its
    record is the file `<id>.json` in `folder`. The members `apart` of a container's document, which change with every
    start and end, are kept in a second record (`state.json`). `is_named`: documents have a "name" that no two share.
    """

    kind: str
    folder: Path
    record: str = ""
    apart: tuple[str, ...] = ()
    is_named: bool = False
    is_durable: bool = True

    def path(self, id: str) -> Path:
        """Return where the record of `id` is."""
        if self.record:
            return self.folder / id / self.record
        return self.folder / f"{id.replace(':', '-')}.json"

    def state_path(self, id: str) -> Path:
        """Return where the second record of `id` is."""
        return self.folder / id / STATE

    def id_of(self, entry: str) -> str:
        """Return the ID that the directory entry `entry` of `folder` stands for."""
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
        # attachments live as long as network namespaces do: until the next boot
        Layout("endpoint", paths.endpoints, is_durable=False),
    )
    return {layout.kind: layout for layout in found}
