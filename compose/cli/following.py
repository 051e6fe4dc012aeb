"""Following containers: their output as it comes, their ends and new beginnings as the engine's events tell them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from compose.plan.project import PROJECT, Existing
from compose.render.logs import LogPrinter
from runtime.client import Client, Endpoint
from runtime.errors import NotFoundError, SkiffError

EVENTS = ("start", "die", "destroy")
DRAIN_S = 10.0
"""How long the end of an ended container's output is waited for: another process may still hold its pipe."""


class Run(NamedTuple):
    """A container's run that ended; `goes_on` when its restart policy begins another."""

    container: Existing
    exit_code: int
    goes_on: bool


class Follower:
    """Shows the output of containers until those that count have ended. `on_exit` hears of each end.

    `query` are settings of "Get container logs"; `tell_exits` says whether ends are shown among the lines.
    """

    def __init__(
        self,
        where: Endpoint,
        printer: LogPrinter,
        query: Mapping[str, Any],
        *,
        on_exit: Callable[[Run], None] | None = None,
        tell_exits: bool = True,
    ) -> None:
        self._where = where
        self._printer = printer
        self._query = dict(query)
        self._on_exit = on_exit
        self._tell_exits = tell_exits
        self._shown: dict[str, Existing] = {}
        self._counting: dict[str, Existing] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._alive: set[str] = set()
        self._has_started = threading.Event()

    def watch(
        self, shown: Sequence[Existing], *, ending_with: Sequence[Existing], unchanged: Collection[str] = ()
    ) -> None:
        """Set what is shown and what is waited for; of containers named in `unchanged` only what comes from now on."""
        self._shown = {container.id: container for container in shown}
        self._counting = {container.id: container for container in ending_with}
        self._alive = {container.id for container in ending_with if container.is_alive}
        for container in shown:
            if container.name in unchanged:
                self._show(container, {"since": f"{time.time():.9f}"})

    def show_all(self) -> None:
        """Show all output of the shown containers, as far as the query wants it, also of those that have ended."""
        for container in self._shown.values():
            self._show(container, {})
        self.all_started()

    def all_started(self) -> None:
        """Say that nothing more will be started: when nobody is alive now, that is the end."""
        self._has_started.set()

    def follow(self) -> None:
        """Return when no container that counts is alive any more. Raises SkiffError when the engine is gone for good."""
        project = next((c.labels.get(PROJECT, "") for c in (*self._shown.values(), *self._counting.values())), "")
        wanted = {"type": ["container"], "event": list(EVENTS), "label": [f"{PROJECT}={project}"]}
        while True:
            client = Client(self._where)
            with client.events(wanted) as stream:
                self._settle(client)
                waker = threading.Thread(target=self._wake, args=(stream,), daemon=True)
                waker.start()
                if self._is_over():
                    break
                try:
                    for event in stream.documents():
                        self._take(client, event)
                        if self._is_over():
                            break
                except OSError:
                    pass  # hung up: by `_wake`, or because the engine went
            if self._is_over():
                break
        for thread in list(self._threads.values()):
            thread.join(DRAIN_S)

    def _is_over(self) -> bool:
        return self._has_started.is_set() and not self._alive

    def _wake(self, stream: Any) -> None:
        """End the wait for events when all was started and has ended before."""
        import socket
        from contextlib import suppress

        self._has_started.wait()
        if not self._alive:
            with suppress(OSError):
                stream.socket.shutdown(socket.SHUT_RDWR)

    def _settle(self, client: Client) -> None:
        """Take in what happened while no events were heard."""
        for id, container in {**self._counting, **self._shown}.items():
            try:
                state = client.container(id)["State"]
            except NotFoundError:
                self._alive.discard(id)
                continue
            if state["Running"] or state.get("Restarting"):
                self._begun(client, container)
            elif id in self._alive:
                self._ended(client, container, int(state["ExitCode"]))

    def _take(self, client: Client, event: Mapping[str, Any]) -> None:
        id, action = event["Actor"]["ID"], event["Action"]
        container = self._shown.get(id) or self._counting.get(id)
        if container is None:
            return
        if action == "start":
            self._begun(client, container)
        elif action == "destroy":
            self._alive.discard(id)
        else:
            self._ended(client, container, int(event["Actor"]["Attributes"].get("exitCode") or 0))

    def _begun(self, client: Client, container: Existing) -> None:
        if container.id in self._counting:
            self._alive.add(container.id)
        thread = self._threads.get(container.id)
        if container.id in self._shown and (thread is None or not thread.is_alive()):
            self._show(container, {"since": client.container(container.id)["State"]["StartedAt"]})

    def _ended(self, client: Client, container: Existing, code: int) -> None:
        try:
            state = client.container(container.id)["State"]
        except NotFoundError:
            state = {}
        goes_on = bool(state.get("Restarting") or state.get("Running"))
        thread = self._threads.get(container.id)
        if thread is not None and not goes_on:
            thread.join(DRAIN_S)
        if not goes_on:
            self._alive.discard(container.id)
        if container.id in self._shown and self._tell_exits:
            how = " (restarting)" if goes_on else ""
            self._printer.status(container.short_name(), f"exited with code {code}{how}")
        if self._on_exit is not None:
            self._on_exit(Run(container, code, goes_on))

    def _show(self, container: Existing, query: Mapping[str, Any]) -> None:
        thread = threading.Thread(target=self._read, args=(container, {**self._query, **query}), daemon=True)
        self._threads[container.id] = thread
        thread.start()

    def _read(self, container: Existing, query: dict[str, Any]) -> None:
        """Write one container's output until it ends; when the engine goes in between, from there on."""
        name = container.short_name()
        while True:
            try:
                client = Client(self._where)
                with client.logs(container.id, **{**query, "follow": 1}) as stream:
                    for number, data in stream.frames():
                        self._printer.write(name, number, data)
                broke_s = time.time()
                if not client.container(container.id)["State"]["Running"]:
                    break
            except NotFoundError:
                break
            except SkiffError:
                return
            except OSError:
                broke_s = time.time()
            query |= {"since": f"{broke_s:.9f}", "tail": "all"}
        self._printer.finish(name)
