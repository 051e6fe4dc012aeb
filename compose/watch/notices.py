"""File events from the kernel (inotify(7), by the package watchfiles), in batches: single ones at once, bursts together."""

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
from compose.watch.snapshot import existing_above
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify

ADDED = 1
"""watchfiles' number for a path that was created, or moved here."""
LOST = 0
"""Our own kind: events were lost, and any path may have changed."""
BUSY_STEP_MS, IDLE_STEP_MS = 2, 10
BUSY_S = 10.0
LOOK_AGAIN_MS = 1000

Batch = set[tuple[int, str]]


class Notices:
    """Events at and below `paths`, also after one of them is created, moved away or replaced.

    Folders are watched recursively. The creation or removal of a path itself is an event of its parent folder, which is
    watched as well.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = sorted(set(paths))
        self._group: TaskGroup | None = None
        self._send, self._batches = anyio.create_memory_object_stream[Batch](1000)
        self._stops: list[threading.Event] = []
        self._folders: list[str] = []

    async def begin(self, group: TaskGroup) -> None:
        """Start watching. Raises SkiffError at the kernel's limit of watches."""
        self._group = group
        await self._watch_again()

    def end(self) -> None:
        """Stop watching."""
        for stop in self._stops:
            stop.set()
        self._stops = []

    async def next(self, within_s: float | None) -> Batch:
        """Return all events that are there; wait for the first at most `within_s` seconds."""
        batch: Batch = set()
        with anyio.move_on_after(within_s):
            batch |= await self._batches.receive()
        while self._batches.statistics().current_buffer_used:
            batch |= self._batches.receive_nowait()
        if any(kind == LOST or self._moves_ground(path) for kind, path in batch):
            await self._watch_again()
        return batch

    def _moves_ground(self, path: str) -> bool:
        """Whether the event on `path` ends a watch or makes one possible: a folder was removed or created."""
        return any(
            rest or (rest == "" and (each in self._folders or os.path.isdir(each)))
            for each in self._paths
            if (rest := below(path, each)) is not None
        )

    async def _watch_again(self) -> None:
        """Watch what is there now; the old watches end after that, so that no event is missed in between."""
        before, self._stops = self._stops, []
        is_watched = False
        while not is_watched:
            self.end()
            self._folders, above = await anyio.to_thread.run_sync(self._ground)
            is_watched = await self._watch(self._folders, is_deep=True) and await self._watch(above, is_deep=False)
        for stop in before:
            stop.set()

    def _ground(self) -> tuple[list[str], list[str]]:
        """Return which paths are folders, and the folders outside of those that contain a path or will once it is created."""
        folders = [path for path in self._paths if os.path.isdir(path)]
        above = {existing_above(path) for path in self._paths}
        return folders, sorted(each for each in above if all(below(folder, each) is None for folder in folders))

    async def _watch(self, paths: Sequence[str], *, is_deep: bool) -> bool:
        """Watch `paths`; return False if one was removed before that. Raises SkiffError."""
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
            # an event is delivered one step later: the step is short while more changes are likely
            step_ms = BUSY_STEP_MS if time.monotonic() - last_s < BUSY_S else IDLE_STEP_MS
            return watcher.watch(step_ms, step_ms, LOOK_AGAIN_MS, stop)

        try:
            while not stop.is_set():
                try:
                    found = await anyio.to_thread.run_sync(wait, limiter=limiter)
                except RuntimeError:
                    # a name that is not UTF-8: the package reports nothing more from then on
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
        # skip folders that can't be read. Only as a second try: it hides that the limit of watches is reached, too
        return RustNotify(paths, False, False, 0, is_deep, True)
