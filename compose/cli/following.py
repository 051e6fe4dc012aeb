"""Following containers: their output as it comes, their ends and new beginnings as the engine's events tell them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
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
        self._runs: dict[str, str] = {}
        """When the last run that was taken in began, by the container's ID."""
        self._alive: set[str] = set()
        self._has_started = threading.Event()
        self._is_settled = False
        self._lock = threading.RLock()

    def watch(
        self, shown: Sequence[Existing], *, ending_with: Sequence[Existing], unchanged: Collection[str] = ()
    ) -> None:
        """Set what is shown and what is waited for; of containers named in `unchanged` what comes from now on is shown.

        Of the others, runs that begin after this.
        """
        self._shown = {container.id: container for container in shown}
        self._counting = {container.id: container for container in ending_with}
        client = Client(self._where)
        for id, container in self._all().items():
            state = client.container(id)["State"]
            self._runs[id] = state["StartedAt"]
            if state["Running"] or state.get("Restarting"):
                self._alive.add(id)
            if id in self._shown and container.name in unchanged:
                self._show(container, {"since": f"{time.time():.9f}"})

    def _all(self) -> dict[str, Existing]:
        return {**self._counting, **self._shown}

    def show_all(self) -> None:
        """Show all output of the shown containers, as far as the query wants it, also of those that have ended."""
        for container in self._shown.values():
            self._show(container, {})
        self.all_started()

    def all_started(self) -> None:
        """Say that nothing more will be started: when nobody is alive then, that is the end."""
        self._has_started.set()

    def follow(self) -> None:
        """Return when no container that counts is alive any more. Raises SkiffError when the engine is gone for good."""
        project = next((container.labels.get(PROJECT, "") for container in self._all().values()), "")
        wanted = {"type": ["container"], "event": list(EVENTS), "label": [f"{PROJECT}={project}"]}
        while not self._is_over():
            client = Client(self._where)
            with client.events(wanted) as stream:
                threading.Thread(target=self._settle, args=(stream.socket,), daemon=True).start()
                try:
                    for event in stream.documents():
                        self._take(client, event)
                        if self._is_over():
                            break
                except OSError:
                    continue  # hung up: by `_settle`, or because the engine went
        for id, thread in list(self._threads.items()):
            if id not in self._alive:
                thread.join(DRAIN_S)

    def _is_over(self) -> bool:
        return self._is_settled and not self._alive & set(self._counting)

    def _settle(self, events: socket.socket) -> None:
        """Once all was started, take in what no event told; end the wait for events when nobody is alive any more."""
        self._has_started.wait()
        client = Client(self._where)
        with suppress(SkiffError, OSError):
            for container in self._all().values():
                self._look(client, container)
            self._is_settled = True
            if self._is_over():
                events.shutdown(socket.SHUT_RDWR)

    def _take(self, client: Client, event: Mapping[str, Any]) -> None:
        container = self._all().get(event["Actor"]["ID"])
        if container is not None:
            code = event["Actor"]["Attributes"].get("exitCode") if event["Action"] == "die" else None
            self._look(client, container, None if code is None else int(code))

    def _look(self, client: Client, container: Existing, died_with: int | None = None) -> None:
        """Take in a container's state: a run that began, one that ended (an event told with which code), both."""
        with self._lock:
            try:
                state = client.container(container.id)["State"]
            except NotFoundError:
                self._alive.discard(container.id)
                return
            goes_on = bool(state["Running"] or state.get("Restarting"))
            if state["StartedAt"] != self._runs.get(container.id):
                self._runs[container.id] = state["StartedAt"]
                self._alive.add(container.id)
                thread = self._threads.get(container.id)
                if container.id in self._shown and (thread is None or not thread.is_alive()):
                    self._show(container, {"since": state["StartedAt"]})
            if container.id not in self._alive or (goes_on and died_with is None):
                return
            if not goes_on:
                self._alive.discard(container.id)
        self._ended(Run(container, int(state["ExitCode"]) if died_with is None else died_with, goes_on))

    def _ended(self, run: Run) -> None:
        container = run.container
        thread = self._threads.get(container.id)
        if thread is not None and not run.goes_on:
            thread.join(DRAIN_S)
        if container.id in self._shown and self._tell_exits:
            how = " (restarting)" if run.goes_on else ""
            self._printer.status(container.short_name(), f"exited with code {run.exit_code}{how}")
        if self._on_exit is not None:
            self._on_exit(run)

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
