"""Layers and blobs that no image needs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from runtime.image.content import PARTIAL
from runtime.paths import Paths
from runtime.store import Store
from runtime.trash import Trash


class Garbage:
    """Collects what is not needed, but never while anybody makes or fetches an image: that names it only at its end."""

    def __init__(self, paths: Paths, store: Store, trash: Trash) -> None:
        self._paths = paths
        self._store = store
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
        self._is_wanted = False
        images = self._store.collection("image").items()
        layers = {diff_id for _, document in images for diff_id in document["config"]["rootfs"]["diff_ids"]}
        layers |= {document.get("layer") for _, document in self._store.collection("build_cache").items()}
        blobs = {id for id, _ in images} | {document.get("manifest") for _, document in images}
        rows = self._store.collection("layer")
        freed = 0
        with self._store.transaction():
            for diff_id, document in rows.items():
                if diff_id in layers:
                    blobs.add((document.get("blob") or {}).get("digest"))
                else:
                    rows.delete(diff_id)
                    freed += document["size"]
        # only now: a layer that is recorded is whole, one that is not may be anything
        for directory in _entries(self._paths.layers):
            if f"sha256:{directory.name}" not in layers:
                self._trash.throw(directory)
        for blob in _entries(self._paths.blobs / "sha256"):
            if f"sha256:{blob.name}" not in blobs:
                freed += blob.stat().st_size
                self._trash.throw(blob)
        for partial in _entries(self._paths.blobs / PARTIAL):
            partial.unlink(missing_ok=True)
        return freed


def _entries(directory: Path) -> list[Path]:
    return list(directory.iterdir()) if directory.is_dir() else []
