"""The temporary directories of one build: gone when it ends, however it ends."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio

from runtime.image.images import Images
from runtime.paths import Paths
from runtime.trash import Trash

PREFIX = "build-"


def make_older(directory: Path, most_ns: int) -> None:
    """Date everything in `directory` that is newer than `most_ns` (nanoseconds since 1970) to that. Blocking."""
    for base, folders, files in os.walk(directory, topdown=False):
        for name in (*folders, *files):
            path = os.path.join(base, name)
            if os.lstat(path).st_mtime_ns > most_ns:
                os.utime(path, ns=(most_ns, most_ns), follow_symlinks=False)


class Scratch:
    """Makes directories on the filesystem of the layers, so that committing one is a rename."""

    def __init__(self, paths: Paths, trash: Trash, commit_lock: anyio.Lock) -> None:
        self._parent = paths.tmp
        self._trash = trash
        self._commit_lock = commit_lock

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """Give a directory of root's alone until the block ends."""
        self._parent.mkdir(parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._parent))
        try:
            yield directory
        finally:
            self._trash.throw(directory)

    async def commit(self, images: Images, upper: Path) -> str:
        """Make `upper` a layer, one at a time: two stages may have made the same."""
        async with self._commit_lock:
            return await images.commit_layer(upper)
