"""Directories of clients that builds read, kept from one build to the next: what has not changed does not travel again."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread

from runtime.buildkit.filesync import receive_directory
from runtime.buildkit.sessions import Session

MOST = 8
"""As many directories are kept, those that were used last."""


class Contexts:
    """The kept directories, below `folder`; each serves one build at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._in_use: set[str] = set()

    @asynccontextmanager
    async def received(
        self, session: Session, name: str, scratch: Path, *, excludes: Sequence[str] = (), follows: Sequence[str] = ()
    ) -> AsyncIterator[tuple[Path, int]]:
        """Give the client's directory `name`, and the bytes that had to travel, until the block ends.

        Where another build uses the kept one, this one has a directory of its own in `scratch`. Raises RpcError.
        """
        key = hashlib.sha256(f"{session.shared_key}/{name}/{sorted(follows)}".encode()).hexdigest()
        if not session.shared_key or key in self._in_use:
            own = Path(tempfile.mkdtemp(prefix="context-", dir=scratch))
            yield own, await receive_directory(session, name, own, excludes=excludes, follows=follows)
            return
        self._in_use.add(key)
        try:
            kept = self._folder / key
            kept.mkdir(parents=True, exist_ok=True, mode=0o700)
            kept.touch()
            try:
                size = await receive_directory(session, name, kept, excludes=excludes, follows=follows)
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(shutil.rmtree, kept, True)
                raise
            yield kept, size
        finally:
            self._in_use.discard(key)
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._drop_oldest)

    def _drop_oldest(self) -> None:
        found = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in found[MOST:]:
            if path.name not in self._in_use:
                shutil.rmtree(path, ignore_errors=True)
