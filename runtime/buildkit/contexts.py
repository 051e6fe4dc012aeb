"""Directories of clients that builds read, kept from one build to the next: what has not changed does not travel again."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from runtime.build.digests import FileDigests
from runtime.buildkit.filesync import receive_directory
from runtime.buildkit.sessions import Session
from runtime.trash import Trash

MOST = 8
"""As many directories are kept, those that were used last."""


class Contexts:
    """The kept directories, below `folder`; each serves one build at a time."""

    def __init__(self, folder: Path, digests: Path, trash: Trash) -> None:
        """`digests` is the folder with the digests of their files."""
        self._folder = folder
        self._digests = digests
        self._trash = trash
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
            _open_to_all(own)
            yield own, await receive_directory(session, name, own, excludes=excludes, follows=follows)
            return
        self._in_use.add(key)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            kept = self._folder / key
            kept.mkdir(exist_ok=True)
            _open_to_all(kept)
            kept.touch()
            try:
                size = await receive_directory(session, name, kept, excludes=excludes, follows=follows)
            except BaseException:
                self._trash.throw(kept)
                raise
            yield kept, size
        finally:
            self._in_use.discard(key)
            self.drop(MOST)

    def digests_of(self, directory: Path) -> FileDigests | None:
        """Return the digests of the files of a kept directory, None for one that is not kept."""
        return FileDigests(self._digests, directory.stat()) if directory.parent == self._folder else None

    def drop(self, most: int = 0) -> None:
        """Remove the kept directories but for `most`, those that were used last, and for those that builds read now."""
        with suppress(FileNotFoundError):
            found = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
            for path in found[most:]:
                if path.name not in self._in_use:
                    self._trash.throw(path)


def _open_to_all(directory: Path) -> None:
    """Let any user read a context: a step that mounts it may run as one. Directories above it keep others out."""
    directory.chmod(0o755)
