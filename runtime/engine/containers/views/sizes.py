"""Disk usage of containers."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from runtime.engine.containers.state import Container
from runtime.errors import NotFoundError
from runtime.image.images import Images
from runtime.paths import Paths


@dataclass(frozen=True, eq=False)
class Sizes:
    """Measures the disk usage of containers."""

    paths: Paths
    images: Images

    async def written(self, container: Container) -> int:
        """Return the size in bytes of the container's own layer."""
        return await anyio.to_thread.run_sync(tree_bytes, self.paths.container(container.id) / "upper")

    async def document(self, container: Container) -> dict[str, int]:
        """Return Docker's two sizes of a container, in bytes."""
        written = await self.written(container)
        try:
            image_bytes = self.images.resolve(container.image_id).size_bytes
        except NotFoundError:  # the image was removed by force
            image_bytes = 0
        return {"SizeRw": written, "SizeRootFs": image_bytes + written}


def tree_bytes(directory: Path) -> int:
    """Return the total bytes of the regular files below `directory`, hard links counted once. Blocking."""
    total = 0
    seen: set[tuple[int, int]] = set()
    for base, _, names in os.walk(directory):
        for name in names:
            try:
                found = os.lstat(os.path.join(base, name))
            except OSError:  # removed in between
                continue
            if not stat.S_ISREG(found.st_mode):
                continue
            if found.st_nlink > 1:
                if (found.st_dev, found.st_ino) in seen:
                    continue
                seen.add((found.st_dev, found.st_ino))
            total += found.st_size
    return total


async def trees_bytes(directories: Sequence[Path]) -> int:
    """Return the total bytes of several trees."""
    return await anyio.to_thread.run_sync(lambda: sum(tree_bytes(directory) for directory in directories))
