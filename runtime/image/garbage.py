"""Layers and blobs that no image needs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from runtime.image.content import PARTIAL
from runtime.image.layers import Layers
from runtime.paths import Paths
from runtime.store import Store
from runtime.trash import Trash


class Garbage:
    """Collects what is not needed, but never while anybody makes or fetches an image: that names it only at its end."""

    def __init__(self, paths: Paths, store: Store, layers: Layers, trash: Trash) -> None:
        self._paths = paths
        self._store = store
        self._layers = layers
        self._trash = trash
        self._workers = 0
        self._is_wanted = False

    @asynccontextmanager
    async def held_off(self) -> AsyncIterator[None]:
        """Let nothing be collected until the block ends."""
        self._workers += 1
        try:
            yield
        finally:
            self._workers -= 1
            if self._is_wanted and not self._workers:
                self.collect()

    def collect(self) -> int:
        """Throw away what no image and no cached build step needs; return its bytes.

        Held off, nothing is collected now but when the last holder ends.
        """
        if self._workers:
            self._is_wanted = True
            return 0
        if any(problem.path.parent == self._paths.images for problem in self._store.problems):
            return 0  # what an image needs whose record can't be read is not known
        self._is_wanted = False
        images = self._store.collection("image").items()
        layers = {diff_id for _, document in images for diff_id in document["config"]["rootfs"]["diff_ids"]}
        layers |= {document.get("layer") for _, document in self._store.build_cache.items()}
        blobs = {id for id, _ in images} | {document.get("manifest") for _, document in images}
        freed = 0
        for diff_id in self._layers.known():
            if diff_id in layers:
                blob = self._layers.blob(diff_id)
                blobs.add(blob.digest if blob is not None else None)
            else:
                freed += self._layers.size(diff_id)
                self._layers.remove(diff_id)
        for file in _entries(self._paths.blobs / "sha256"):
            if f"sha256:{file.name}" not in blobs:
                freed += file.stat().st_size
                self._trash.throw(file)
        for partial in _entries(self._paths.blobs / PARTIAL):
            partial.unlink(missing_ok=True)
        return freed


def _entries(directory: Path) -> list[Path]:
    return list(directory.iterdir()) if directory.is_dir() else []
