"""Removed directories: the name goes at once, the files later.

    volumes/db ──rename(2)──▶ trash/<token> ──few files: a thread; many: an `rm` process──▶ gone
                 in throw()                   in keep_empty()

Everything in the trash directory is garbage by being there, whatever the records say. So a crash between the two
steps loses nothing but time: the next engine goes on with what lies there. Many files are deleted by another process:
a thread that unlinks 200,000 of them would take the interpreter's lock from the event loop after each one. The few
that most containers leave are not worth one: to start it takes longer than to delete them.
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
"""Removals come in bursts (`down`, `prune`), often with launches between them: files are deleted when none came for the
first time, so that a burst costs one process and nobody waits behind it, but after the second in any case."""
MAX_AT_ONCE = 1000
"""Entries for one process; their names must fit into its arguments (execve(2), "Limits on size of arguments")."""
FEW = 100
"""So many files and directories of a burst are deleted without a process."""
DEEPEST = 50
DELETE = ("nice", "-n", "10", "rm", "-rf", "--one-file-system", "--")
"""Deletes what is named after it: below whoever waits for a processor, and never what is mounted there."""
CANNOT_BE_MOVED = (errno.EXDEV, errno.ENOSPC, errno.EDQUOT)


class Trash:
    """The trash directory of one state root. `throw` may be called from any thread."""

    def __init__(self, paths: Paths) -> None:
        self._directory = paths.trash
        self._lock = threading.Lock()
        self._wakeup: int | None = None

    def throw(self, path: Path) -> None:
        """Take the file or directory `path` away, and have it deleted later; one that is missing is no error.

        Raises OSError.
        """
        with suppress(OSError):
            os.rmdir(path)  # of an empty directory nothing is left to delete later
            return
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            os.rename(path, self._directory / secrets.token_hex(16))
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in CANNOT_BE_MOVED:
                raise
            # another filesystem is mounted there, or the disk has no room for one more name: deleted in its place
            _delete_here(path)
        with self._lock:
            if self._wakeup is not None:
                os.eventfd_write(self._wakeup, 1)

    async def keep_empty(self, busy: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        """Delete what lies in the trash and what comes, until cancelled; `busy` is entered while there is something.

        What can't be deleted is named in the log, and tried again by the next engine.
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
        """Give the eventfd(2) that `throw` writes to until the block ends."""
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
        """Delete entries; return what was said about those that stay. A cancelled task ends the process, too."""
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
        """Delete entries while they are small; return those that are not gone."""
        trash = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        left = FEW
        try:
            for number, name in enumerate(names):
                left = _delete_small(name, trash, left, DEEPEST)
                if left <= 0:
                    return list(names[number:])
        except OSError:  # its reason is told by the process, which tries everything
            return list(names[number:])
        finally:
            os.close(trash)
        return []


async def _until_quiet(wakeup: int) -> None:
    """Return when something was thrown and nothing more for GATHER_S, or after LONGEST_GATHER_S."""
    await anyio.wait_readable(wakeup)
    with anyio.move_on_after(LONGEST_GATHER_S):
        is_quiet = False
        while not is_quiet:
            os.eventfd_read(wakeup)
            with anyio.move_on_after(GATHER_S) as pause:
                await anyio.wait_readable(wakeup)
            is_quiet = pause.cancelled_caught
    # what is left in the counter costs one more look at an empty directory


def _delete_small(name: str, parent: int, left: int, depth: int) -> int:
    """Delete an entry of the directory `parent`, of less than `left` entries; return how many are left to others.

    0 says that something remains, as it does of more than `depth` levels. Descriptors keep it from leaving the trash
    by a link, and what is mounted there stays. Raises OSError.
    """
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return left
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.EPERM):  # of a directory: Linux says the first, POSIX the second
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
    reason = said.strip().partition("\n")[0] or "for no reason that was told"
    logger.error(
        "removed data could not be deleted from the disk: %s\n"
        "    delete it by hand, or restart the engine to try again: rm -rf %s",
        reason,
        " ".join(map(str, paths)),
    )
