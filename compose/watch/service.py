"""One watched service: files are copied into its containers at once; rebuilds and restarts follow a burst of changes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import anyio
import anyio.to_thread

from compose.plan.project import ObservedContainer
from compose.watch.actions import Actions
from compose.watch.rules import WatchRule
from compose.watch.work import Work
from runtime.errors import ConflictError, NotFoundError, SkiffError

QUIET_S = 0.1
"""A burst of changes is over after this time without one; then rebuilds, restarts and hooks run once."""


class ServiceWatch:
    """Carries out what changes mean for the service `name`: files are copied at once, with all that changed until then."""

    def __init__(self, name: str, actions: Actions) -> None:
        self.name = name
        self._actions = actions
        self._work = Work()
        self._changed_s = 0.0
        self._has_news = anyio.Event()
        self._is_to_look = False
        self._synced: dict[str, str] = {}
        """All paths copied into containers so far: new containers get them, too."""
        self._complete: set[str] = set()
        """The IDs of containers that have all of these."""

    async def begin(self, paths: Sequence[tuple[str, WatchRule]]) -> None:
        """Look up the containers, and copy `paths` into them."""
        found = await self._containers()
        if paths:
            for path, rule in paths:
                self._work.add(path, [rule])
            initial = self._work.take_paths()
            self._work = Work()  # the initial sync copies files only: no restart, no hook
            await self._sync(initial)
        else:
            self._complete = {container.id for container in found}

    def add(self, path: str, rule: WatchRule) -> None:
        """Add a change that `rule` applies to."""
        self._work.add(path, [rule])
        self._changed_s = time.monotonic()
        self._has_news.set()

    def look(self) -> None:
        """Note that a container was started: it may lack files."""
        self._is_to_look = True
        self._has_news.set()

    async def run(self) -> None:
        """Carry out changes until cancelled; failures are reported."""
        while True:
            wait_s = self._changed_s + QUIET_S - time.monotonic() if self._work.is_heavy else None
            if not self._work.paths and not self._is_to_look and (wait_s is None or wait_s > 0):
                with anyio.move_on_after(wait_s):
                    await self._has_news.wait()
            self._has_news = anyio.Event()
            try:
                if self._work.paths or self._is_to_look:
                    self._is_to_look = False
                    await self._sync(self._work.take_paths())
                elif self._work.is_heavy and time.monotonic() >= self._changed_s + QUIET_S:
                    await self._act(self._work.take_heavy())
            except SkiffError as error:
                self._actions.warn(f"Error handling changed files: {error}")

    async def _containers(self) -> list[ObservedContainer]:
        return await anyio.to_thread.run_sync(self._actions.containers, self.name)

    async def _sync(self, paths: Mapping[str, str]) -> None:
        if paths:
            self._actions.report(f'Syncing service "{self.name}" after {len(paths)} changes were detected')
            self._synced.update(paths)
        if not self._synced:
            return
        async with anyio.create_task_group() as group:
            for container in await self._containers():
                group.start_soon(self._bring, container, paths)

    async def _bring(self, container: ObservedContainer, paths: Mapping[str, str]) -> None:
        wanted = paths if container.id in self._complete else dict(self._synced)
        if not wanted:
            return
        self._complete.discard(container.id)
        try:
            if await anyio.to_thread.run_sync(self._actions.deliver, container, wanted):
                self._complete.add(container.id)
        except (NotFoundError, ConflictError):
            return  # it stopped or is gone: when it, or a new one, starts, it gets everything
        except SkiffError as error:
            self._actions.warn(f"Error handling changed files: container {container.name}: {error}")

    async def _act(self, work: Work) -> None:
        if work.rebuilds:
            await self._actions.rebuild(self.name)
        if work.restarts:
            await self._actions.restart(self.name)
        for rule in work.hooks:
            await self._actions.run_hook(self.name, rule)
