"""Watching one project: one task reads changes, and one task a service carries out what they lead to."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial

import anyio
import anyio.from_thread
import anyio.to_thread

from compose.plan.project import PROJECT, SERVICE
from compose.watch.actions import Actions
from compose.watch.notices import ADDED, LOST, Notices
from compose.watch.rules import WatchRule, WatchRules
from compose.watch.service import QUIET_S, ServiceWatch
from compose.watch.snapshot import FileSnapshot
from runtime.client.blocking import Client, ResponseStream
from runtime.errors import SkiffError

LARGE_BATCH = 1000
"""With this many changes at once the kernel may have dropped some: all files are compared once the burst is over."""
RETRY_S = 1.0
EVENTS = ("start", "unpause")


class WatchSession:
    """Watches what `rules` are about until it is cancelled."""

    def __init__(self, rules: Sequence[WatchRule], actions: Actions) -> None:
        self._rules = WatchRules(rules)
        self.actions = actions
        self._tree = FileSnapshot(self._rules)
        self._services = {rule.service: ServiceWatch(rule.service, actions) for rule in rules}
        self._notices = Notices([rule.path for rule in rules])
        self._stream: ResponseStream | None = None

    async def run(self) -> None:
        """Watch. Raises SkiffError where the kernel does not let files be watched."""
        try:
            async with anyio.create_task_group() as group:
                await self._notices.begin(group)
                await anyio.to_thread.run_sync(self._tree.read_all)
                for service in self._services.values():
                    await service.begin(self._initial_paths(service.name))
                    group.start_soon(service.run)
                group.start_soon(self._follow_containers)
                self.actions.report("Watch enabled")
                await self._take_changes()
        finally:
            self._notices.end()
            if self._stream is not None:
                with suppress(OSError):
                    self._stream.socket.shutdown(socket.SHUT_RDWR)
            self.actions.report("Watch disabled")

    def _initial_paths(self, service: str) -> list[tuple[str, WatchRule]]:
        return [
            (path, rule)
            for rule in self._rules.rules
            if rule.service == service and rule.has_initial_sync
            for path in self._tree.all_below(rule.path)
            if rule.wants(path)
        ]

    async def _take_changes(self) -> None:
        again: set[str] = set()
        is_large = False
        while True:
            batch = await self._notices.next(QUIET_S if again or is_large else None)
            if batch:
                is_lost = any(kind == LOST for kind, _ in batch)
                batch = {(kind, path) for kind, path in batch if kind != LOST}
                changed = await anyio.to_thread.run_sync(self._changed, batch)
                # a new folder may have been filled before its watch began: compare it once more
                again |= {path for kind, path in batch if kind == ADDED}
                if is_lost:
                    is_large = True
                elif len(batch) > LARGE_BATCH and not is_large:
                    is_large = True
                    self.actions.report(
                        "Large batch of file changes detected. If you just switched branches, this is expected."
                    )
            elif is_large:
                changed = await anyio.to_thread.run_sync(lambda: list(self._tree.reconciled()))
                again, is_large = set(), False
            else:
                changed = await anyio.to_thread.run_sync(self._seen_again, again)
                again = set()
            self._hand_out(changed)

    def _changed(self, batch: Iterable[tuple[int, str]]) -> list[str]:
        found: dict[str, None] = {}
        for kind, path in sorted(batch, key=lambda event: event[1]):
            found.update(dict.fromkeys(self._tree.changed(path, is_new=kind == ADDED)))
        return list(found)

    def _seen_again(self, paths: Iterable[str]) -> list[str]:
        return [path for each in sorted(paths) for path in self._tree.differing(each)]

    def _hand_out(self, paths: Iterable[str]) -> None:
        for path in paths:
            for rule in self._rules.wanting(path):
                self._services[rule.service].add(path, rule)

    async def _follow_containers(self) -> None:
        """Call `look` for started containers: a recreated one lacks what was copied before."""
        while True:
            with suppress(SkiffError, OSError):
                await anyio.to_thread.run_sync(self._read_events, abandon_on_cancel=True)
            await anyio.sleep(RETRY_S)
            for service in self._services.values():
                service.look()

    def _read_events(self) -> None:
        wanted = {
            "type": ["container"],
            "event": list(EVENTS),
            "label": [f"{PROJECT}={self.actions.target.name}"],
        }
        with Client(self.actions.where).events(wanted) as self._stream:
            for event in self._stream.documents():
                name = event["Actor"]["Attributes"].get(SERVICE, "")
                if name in self._services:
                    anyio.from_thread.run_sync(partial(self._services[name].look))
