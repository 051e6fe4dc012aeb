"""Root filesystems for the keeper's tasks (`runtime.oci.tasks`): a running container's, or an overlay for the task."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SMALLEST_STACK = 2
"""An overlay without an upper directory needs at least two lower ones."""


class LiveRoot:
    """The root of a running container."""

    def __init__(self, id: str) -> None:
        self._id = id

    def __enter__(self) -> dict[str, Any]:
        return {"container": self._id}

    def __exit__(self, *_: object) -> None:
        return


class ScratchRoot:
    """A writable overlay for one task: layers, the changes of a stopped `container`, and its bind mounts (OCI form)."""

    def __init__(
        self,
        tmp: Path,
        layers: Sequence[str],
        container: Path | None = None,
        binds: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        tmp.mkdir(parents=True, exist_ok=True)
        self._directory = Path(tempfile.mkdtemp(dir=tmp, prefix="root-"))
        self._layers = list(layers)
        self._container = container
        self._binds = list(binds)

    def __enter__(self) -> dict[str, Any]:
        place = self._directory if self._container is None else self._container
        for part in ("upper", "work"):
            (place / part).mkdir(exist_ok=True)
        (self._directory / "root").mkdir()
        return {
            "mountpoint": str(self._directory / "root"),
            "lower": self._layers,
            "upper": str(place / "upper"),
            "work": str(place / "work"),
            "binds": self._binds,
        }

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)


class ReadOnlyRoot:
    """A container's root without its mounts, for reading, whether it runs or not: its changes are the topmost layer."""

    def __init__(self, tmp: Path, layers: Sequence[str], container: Path) -> None:
        tmp.mkdir(parents=True, exist_ok=True)
        self._directory = Path(tempfile.mkdtemp(dir=tmp, prefix="root-"))
        self._layers = [str(container / "upper"), *layers]

    def __enter__(self) -> dict[str, Any]:
        (self._directory / "root").mkdir()
        while len(self._layers) < SMALLEST_STACK:
            empty = self._directory / f"empty-{len(self._layers)}"
            empty.mkdir()
            self._layers.append(str(empty))
        return {"mountpoint": str(self._directory / "root"), "lower": self._layers}

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)
