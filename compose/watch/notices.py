"""What the kernel tells of files, by the package watchfiles: batches that come at once, or together in a burst."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from compose.watch.patterns import below
from compose.watch.tree import existing_above
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify

ADDED = 1
"""watchfiles' number of what came: made, or moved here."""
LOST = 0
"""Our own: events were lost, for none or all of the paths."""
BUSY_STEP_MS, IDLE_STEP_MS = 2, 10
BUSY_S = 10.0
LOOK_AGAIN_MS = 1000

Batch = set[tuple[int, str]]


class Notices:
    """Events at and below `paths`, also where one is made, moved away or replaced meanwhile.

    Folders are watched with all that is in them; that something comes or goes in the place of a path is seen from the
    folder above it.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = sorted(set(paths))
        self._group: TaskGroup | None = None
        self._send, self._batches = anyio.create_memory_object_stream[Batch](1000)
        self._stops: list[threading.Event] = []
        self._folders: list[str] = []

    async def begin(self, group: TaskGroup) -> None:
        """Watch from now on. Raises SkiffError when the kernel gives no more watches."""
        self._group = group
        await self._watch_anew()

    def end(self) -> None:
        """Watch no more."""
        for stop in self._stops:
            stop.set()
        self._stops = []

    async def next(self, within_s: float | None) -> Batch:
        """Return what came, all that is there: nothing only when nothing comes within `within_s` seconds."""
        batch: Batch = set()
        with anyio.move_on_after(within_s):
            batch |= await self._batches.receive()
        while self._batches.statistics().current_buffer_used:
            batch |= self._batches.receive_nowait()
        if any(kind == LOST or self._moves_ground(path) for kind, path in batch):
            await self._watch_anew()
        return batch

    def _moves_ground(self, path: str) -> bool:
        """Whether what happened to `path` is the end of a watch, or makes one possible: folders went or came."""
        return any(
            rest or (rest == "" and (each in self._folders or os.path.isdir(each)))
            for each in self._paths
            if (rest := below(path, each)) is not None
        )

    async def _watch_anew(self) -> None:
        """Watch what is there now, and then no more what was there before: nothing is missed in between."""
        before, self._stops = self._stops, []
        is_watched = False
        while not is_watched:
            self.end()
            self._folders, above = await anyio.to_thread.run_sync(self._ground)
            is_watched = await self._watch(self._folders, is_deep=True) and await self._watch(above, is_deep=False)
        for stop in before:
            stop.set()

    def _ground(self) -> tuple[list[str], list[str]]:
        """Return which paths are folders, and the folders outside of those in which a path is, or will come to be."""
        folders = [path for path in self._paths if os.path.isdir(path)]
        above = {existing_above(path) for path in self._paths}
        return folders, sorted(each for each in above if all(below(folder, each) is None for folder in folders))

    async def _watch(self, paths: Sequence[str], *, is_deep: bool) -> bool:
        """Watch `paths`; False: one went in the meantime. Raises SkiffError."""
        assert self._group is not None  # begun
        if not paths:
            return True
        try:
            watcher = await anyio.to_thread.run_sync(_made, list(paths), is_deep)
        except FileNotFoundError:
            return False
        except (OSError, RuntimeError) as error:
            raise SkiffError(
                f"can't watch {', '.join(paths)}: {error}",
                "allow more: `sysctl fs.inotify.max_user_watches=1048576 fs.inotify.max_user_instances=1024`, or give "
                "develop.watch smaller folders",
            ) from error
        stop = threading.Event()
        self._stops.append(stop)
        self._group.start_soon(self._listen, watcher, stop)
        return True

    async def _listen(self, watcher: RustNotify, stop: threading.Event) -> None:
        limiter = anyio.CapacityLimiter(1)
        last_s = 0.0

        def wait() -> Batch | str:
            # an event is given on after one more step: short ones where another change is likely
            step_ms = BUSY_STEP_MS if time.monotonic() - last_s < BUSY_S else IDLE_STEP_MS
            return watcher.watch(step_ms, step_ms, LOOK_AGAIN_MS, stop)

        try:
            while not stop.is_set():
                try:
                    found = await anyio.to_thread.run_sync(wait, limiter=limiter)
                except RuntimeError:
                    # a name that is not UTF-8: the package tells of nothing else from then on
                    await self._send.send({(LOST, "")})
                    return
                if isinstance(found, set):
                    last_s = time.monotonic()
                    await self._send.send(found)
        finally:
            stop.set()
            watcher.close()


def _made(paths: list[str], is_deep: bool) -> RustNotify:
    from watchfiles._rust_notify import RustNotify

    try:
        return RustNotify(paths, False, False, 0, is_deep, False)
    except PermissionError:
        # folders that can't be read are left out; asked for at once, that would hide a lack of watches, too
        return RustNotify(paths, False, False, 0, is_deep, True)
