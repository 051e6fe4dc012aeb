"""Removed directories: renamed into the trash at once, deleted in the background.

    volumes/db ──rename(2)──▶ trash/<token> ──few files: a thread; many: an `rm` process──▶ gone
                 in throw()                   in keep_empty()

Everything in the trash directory is garbage, whatever the records say. So a crash between the two steps is harmless:
the next engine deletes what is there. Many files are deleted by a process: a thread that unlinks 200,000 files would
take the GIL from the event loop after each one. The few files of most containers are deleted in a thread: starting a
process takes longer than that.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

import anyio
import anyio.to_thread

from runtime.paths import Paths

logger = logging.getLogger(__name__)

GATHER_S, LONGEST_GATHER_S = 0.5, 5.0
"""Removals come in bursts (`down`, `prune`), often with starts between them: so files are deleted after GATHER_S without
a removal, at the latest after LONGEST_GATHER_S. Then a burst costs one process, and does not slow down the starts."""
MAX_AT_ONCE = 1000
"""Entries for one process: their names must fit in its arguments (execve(2), "Limits on size of arguments")."""
FEW = 100
"""The number of files and directories of a burst that are deleted without a process."""
DEEPEST = 50
DELETE = ("nice", "-n", "10", "rm", "-rf", "--one-file-system", "--")
"""The command, followed by paths: with a low CPU priority, and not across mount points."""
CANNOT_BE_MOVED = (errno.EXDEV, errno.ENOSPC, errno.EDQUOT)


class Trash:
    """The trash directory of one state root. `throw` is thread-safe."""

    def __init__(self, paths: Paths) -> None:
        self._directory = paths.trash
        self._lock = threading.Lock()
        self._wakeup: int | None = None

    def throw(self, path: Path) -> None:
        """Move the file or directory `path` to the trash, to be deleted later; a missing one is not an error.

        Raises OSError.
        """
        with suppress(OSError):
            os.rmdir(path)  # an empty directory needs no background work
            return
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            os.rename(path, self._directory / secrets.token_hex(16))
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in CANNOT_BE_MOVED:
                raise
            # a mount point, or no space for another directory entry: deleted in place
            _delete_here(path)
        with self._lock:
            if self._wakeup is not None:
                os.eventfd_write(self._wakeup, 1)

    async def keep_empty(self, busy: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        """Delete everything that is or comes into the trash, until cancelled; `busy` is entered while deleting.

        What can't be deleted is logged, and tried again by the next engine.
        """
        stuck: set[str] = set()
        with self._listening() as wakeup:
            while True:
                while found := sorted(self._entries() - stuck)[:MAX_AT_ONCE]:
                    with busy():
                        said = await self._delete(found)
                    left = self._entries().intersection(found)
                    if left:
                        stuck |= left
                        _say_what_stays([self._directory / name for name in sorted(left)], said)
                await _until_quiet(wakeup)

    @contextmanager
    def _listening(self) -> Iterator[int]:
        """Yield the eventfd(2) that `throw` writes to until the block ends."""
        wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._wakeup = wakeup
        try:
            yield wakeup
        finally:
            with self._lock:
                self._wakeup = None
                os.close(wakeup)

    def _entries(self) -> set[str]:
        try:
            return set(os.listdir(self._directory))
        except FileNotFoundError:
            return set()

    async def _delete(self, names: Sequence[str]) -> str:
        """Delete entries; return rm's error output. If the task is cancelled, the process is killed."""
        many = await anyio.to_thread.run_sync(self._delete_few, names)
        if not many:
            return ""
        try:
            done = await anyio.run_process(
                [*DELETE, *many], cwd=self._directory, check=False, stdout=subprocess.DEVNULL
            )
        except OSError as error:
            return str(error)
        return done.stderr.decode(errors="replace")

    def _delete_few(self, names: Sequence[str]) -> list[str]:
        """Delete entries as long as they are small; return the remaining ones."""
        trash = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        left = FEW
        try:
            for number, name in enumerate(names):
                left = _delete_small(name, trash, left, DEEPEST)
                if left <= 0:
                    return list(names[number:])
        except OSError:  # `rm` tries again, and reports the reason
            return list(names[number:])
        finally:
            os.close(trash)
        return []


async def _until_quiet(wakeup: int) -> None:
    """Wait for a removal, and then until there was none for GATHER_S, at most LONGEST_GATHER_S."""
    await anyio.wait_readable(wakeup)
    with anyio.move_on_after(LONGEST_GATHER_S):
        is_quiet = False
        while not is_quiet:
            os.eventfd_read(wakeup)
            with anyio.move_on_after(GATHER_S) as pause:
                await anyio.wait_readable(wakeup)
            is_quiet = pause.cancelled_caught
    # a counter that is not read costs one more listing of the directory


def _delete_small(name: str, parent: int, left: int, depth: int) -> int:
    """Delete an entry of the directory `parent` if it has less than `left` entries; return the rest of `left`.

    0 means that something remains, as for a tree of more than `depth` levels. Directory descriptors are used, so no
    symbolic link leads out of the trash, and mount points are skipped. Raises OSError.
    """
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return left
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.EPERM):  # it is a directory: EISDIR on Linux, EPERM in POSIX
            raise
    else:
        return left - 1
    if not depth:
        return 0
    directory = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        if os.fstat(directory).st_dev != os.fstat(parent).st_dev:
            return 0
        with os.scandir(directory) as entries:
            for entry in entries:
                left = _delete_small(entry.name, directory, left, depth - 1)
                if left <= 0:
                    return 0
    finally:
        os.close(directory)
    os.rmdir(name, dir_fd=parent)
    return left - 1


def _delete_here(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _say_what_stays(paths: Sequence[Path], said: str) -> None:
    reason = said.strip().partition("\n")[0] or "no reason was given"
    logger.error(
        "removed data could not be deleted from the disk: %s\n"
        "    delete it by hand, or restart the engine to try again: rm -rf %s",
        reason,
        " ".join(map(str, paths)),
    )
