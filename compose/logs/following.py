"""Following containers: their output as it comes, their exits and restarts from the engine's events."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from compose.logs.crash_loop import CrashLoops
from compose.logs.reading import MOST_FAILURES, LogReading
from compose.logs.sink import LogSink
from compose.logs.stamped import api_nanoseconds
from compose.plan.project import PROJECT, ObservedContainer
from runtime.client import Client, EngineAddress
from runtime.errors import NotFoundError, SkiffError

EVENTS = ("create", "start", "oom", "die", "destroy")
DRAIN_S = 10.0
"""How long to wait for the last output of an exited container: another process may still hold its pipe."""
NEXT_RUN_S = 1.0
"""The same if the container is restarted: the reader may already show the next run."""


class ContainerRun(NamedTuple):
    """One run of a container that has ended; `goes_on`: its restart policy starts another."""

    container: ObservedContainer
    exit_code: int
    goes_on: bool


def _replaces(container: ObservedContainer, other: ObservedContainer) -> bool:
    """Whether `container` came after `other` with the same name."""
    return container.id != other.id and container.short_name() == other.short_name()


class Follower:
    """Passes the output of containers to `sink` until the counted ones have exited; `on_exit` is called for each exit.

    `query` holds parameters of "Get container logs": since and until. New containers of the project that are accepted
    by `joins(labels)` are followed and counted too. `since` has parameters of single containers, by ID.
    """

    def __init__(
        self,
        where: EngineAddress,
        sink: LogSink,
        query: Mapping[str, object],
        *,
        on_exit: Callable[[ContainerRun], None] | None = None,
        joins: Callable[[Mapping[str, str]], bool] | None = None,
        since: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self._since = since or {}
        self._where = where
        self._sink = sink
        self._query = dict(query)
        self._on_exit = on_exit
        self._joins = joins
        self._shown: dict[str, ObservedContainer] = {}
        self._counting: dict[str, ObservedContainer] = {}
        self._readings: dict[str, LogReading] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._again: set[str] = set()
        """Containers whose log must be read again once their reader ends: another run has started since."""
        self._writing: set[str] = set()
        """Containers whose output is being written right now: our reader may be slow."""
        self._written: dict[str, int] = {}
        """Number of writes for each container."""
        self._attached: set[str] = set()
        """Containers that are read before their next run starts."""
        self._runs: dict[str, str] = {}
        """Start time of the last known run, by container ID."""
        self._alive: set[str] = set()
        self._failing = CrashLoops()
        self._out_of_memory: set[str] = set()
        """Containers whose kernel had to kill a process for want of memory, in the run that goes on."""
        self._stopped: set[str] = set()
        """Containers that ended and that their policy does not start again: if they run again, somebody did."""
        self._ending = 0
        """Number of exits being reported."""
        self._has_started = threading.Event()
        self._events: socket.socket | None = None
        self._is_settled = False
        self._is_past = False
        self._failure: OSError | None = None
        """Why output can no longer be written."""
        self.stays = False
        """Whether to keep following when no container runs: something may be restarted."""
        self._lock = threading.RLock()

    def watch(
        self,
        shown: Sequence[ObservedContainer],
        *,
        ending_with: Sequence[ObservedContainer],
        from_now: bool = False,
        since: str = "",
    ) -> list[LogReading]:
        """Set whose output is shown and whose exits are counted.

        With `from_now` output is shown from the time `since` on, also of containers before their start. Returns
        the readings of `shown`: what was logged before can be read from them first.
        """
        if since:
            self._query["since"] = since
        self._shown = {container.id: container for container in shown}
        self._counting = {container.id: container for container in ending_with}
        self._readings = {
            container.id: LogReading(self._where, container, {**self._query, **self._since.get(container.id, {})})
            for container in shown
        }
        client = Client(self._where)
        for id in self._all():
            state = client.container(id)["State"]
            self._runs[id] = state["StartedAt"]
            if state["Running"] or state.get("Restarting"):
                self._alive.add(id)
            if id in self._shown and from_now:
                if id not in self._alive:
                    self._attached.add(id)
                self._show(id)
        return list(self._readings.values())

    def _all(self) -> dict[str, ObservedContainer]:
        return {**self._counting, **self._shown}

    def show_all(self) -> None:
        """Show the output of the shown containers from the current position on, also of those that have exited."""
        for id in self._shown:
            self._show(id)
        self.all_started()

    def all_started(self) -> None:
        """Declare that nothing more will be started: from now on, no running container means the end."""
        self._has_started.set()

    def follow(self) -> None:
        """Return when all counted containers have exited, or the query's `until` has passed.

        Raises SkiffError when the engine is gone for good, OSError when nothing can be written.
        """
        project = next((container.labels.get(PROJECT, "") for container in self._all().values()), "")
        wanted = {"type": ["container"], "event": list(EVENTS), "label": [f"{PROJECT}={project}"]}
        if until := self._query.get("until"):
            threading.Thread(target=self._wait_for, args=(until,), daemon=True).start()
        failures = 0
        while not self._is_over():
            client = Client(self._where)
            try:
                stream = client.events(wanted)
            except SkiffError:  # the engine may be exiting right now
                failures += 1
                if failures > MOST_FAILURES:
                    raise
                continue
            failures = 0
            with stream:
                self._events = stream.socket
                threading.Thread(target=self._settle, args=(wanted["label"],), daemon=True).start()
                try:
                    for event in stream.documents():
                        self._take(client, event)
                        if self._is_over():
                            break
                except (OSError, SkiffError):
                    continue  # the connection ended: `_wake` closed it, or the engine is gone
        for id, thread in list(self._threads.items()):
            if self._failure is None and (id not in self._alive or self._is_past):
                self._drain(id, thread, DRAIN_S)
        if self._failure is not None:
            raise self._failure

    def _is_over(self) -> bool:
        with self._lock:
            is_left = self._is_settled and not self._ending and not self._alive & set(self._counting)
        return self._is_past or self._failure is not None or (is_left and not self.stays)

    def _wait_for(self, until: str) -> None:
        while (left_s := (api_nanoseconds(until) - time.time_ns()) / 1e9) > 0:
            time.sleep(min(left_s, threading.TIMEOUT_MAX))
        self._is_past = True
        self._wake()

    def _wake(self) -> None:
        """Stop waiting for events if following is over."""
        if self._is_over() and self._events is not None:
            with suppress(OSError):
                self._events.shutdown(socket.SHUT_RDWR)

    def _settle(self, labels: Sequence[str]) -> None:
        """Once everything was started, catch up with what happened before events arrived; stop waiting if all exited."""
        self._has_started.wait()
        client = Client(self._where)
        with suppress(SkiffError, OSError):
            if self._joins is not None:
                for row in client.containers(all=True, filters={"label": labels}):
                    self._join(client, row["Id"], row.get("Labels") or {})
            for container in self._all().values():
                self._look(client, container)
            self._is_settled = True
            self._wake()

    def _take(self, client: Client, event: Mapping[str, Any]) -> None:
        actor = event["Actor"]
        if event["Action"] in ("create", "start"):
            self._join(client, actor["ID"], actor["Attributes"])
        container = self._all().get(actor["ID"])
        if event["Action"] == "oom":
            self._out_of_memory.add(actor["ID"])
        elif container is not None:
            code = actor["Attributes"].get("exitCode") if event["Action"] == "die" else None
            self._look(client, container, None if code is None else int(code))

    def _join(self, client: Client, id: str, labels: Mapping[str, str]) -> None:
        """Show and count a container that was created later; a recreated one gets its final name before its start."""
        with self._lock:
            if id in self._runs or self._joins is None or not self._joins(labels):
                return
            rows = client.containers(all=True, filters={"id": [id]})
            if not rows:
                return
            container = ObservedContainer.of(rows[0])
            self._shown[id] = self._counting[id] = container
            self._alive.add(id)
            if container.state != "created":
                self._runs[id] = ""
                self._readings[id] = LogReading(
                    self._where, container, {key: self._query.get(key) for key in ("until", "stdout", "stderr")}
                )
                self._sink.add(container.short_name())
                if any(_replaces(container, other) for other in self._all().values()):
                    self._sink.mark(container.short_name(), "has been recreated")

    def _look(self, client: Client, container: ObservedContainer, died_with: int | None = None) -> None:
        """Process a container's state: a run began, or ended (`died_with`: the exit code of its event), or both."""
        id = container.id
        with self._lock:
            try:
                state = client.container(id)["State"]
            except NotFoundError:
                was_alive, goes_on = id in self._alive, False
                self._alive.discard(id)
                if died_with is None or not was_alive:
                    return
            else:
                goes_on = bool(state["Running"] or state.get("Restarting"))
                if state["Status"] == "created":
                    return
                self._begun(id, state["StartedAt"])
                if id not in self._alive or (goes_on and died_with is None):
                    return
                if state.get("OOMKilled"):
                    self._out_of_memory.add(id)
                if not goes_on:
                    self._alive.discard(id)
                    self._stopped.add(id)
                if died_with is None:
                    died_with = int(state["ExitCode"])
            self._ending += 1
        try:
            self._ended(ContainerRun(container, died_with, goes_on))
        except OSError as error:
            self._failure = error
        finally:
            with self._lock:
                self._ending -= 1
            self._wake()

    def _begun(self, id: str, started_at: str) -> None:
        """Register a new run, if `started_at` belongs to another one than the last."""
        if started_at == self._runs.get(id):
            return
        self._runs[id] = started_at
        self._alive.add(id)
        if id in self._stopped:
            self._stopped.discard(id)
            if id in self._shown:
                self._sink.mark(self._shown[id].short_name(), "has been restarted")
        if id in self._attached:
            self._attached.discard(id)
        elif id in self._shown:
            self._show(id)

    def _ended(self, run: ContainerRun) -> None:
        container = run.container
        thread = self._threads.get(container.id)
        if thread is not None:
            self._drain(container.id, thread, NEXT_RUN_S if run.goes_on else DRAIN_S)
        if container.id in self._shown:
            notes = ["out of memory"] if container.id in self._out_of_memory else []
            self._out_of_memory.discard(container.id)
            if run.goes_on and (often := self._failing.note(container.id)):
                notes.append(often)
            self._sink.exited(container.short_name(), run.exit_code, is_restarting=run.goes_on, note=", ".join(notes))
        if self._on_exit is not None:
            self._on_exit(run)

    def _drain(self, id: str, thread: threading.Thread, limit_s: float) -> None:
        """Wait until a container's output is shown; give up when none comes for `limit_s` seconds."""
        while thread.is_alive() and self._failure is None:
            before = self._written.get(id, 0)
            thread.join(limit_s)
            if id not in self._writing and self._written.get(id, 0) == before:
                return

    def _show(self, id: str) -> None:
        """Show a container's further output, now or once its current reader ends."""
        with self._lock:
            if id in self._threads and self._threads[id].is_alive():
                self._again.add(id)
                return
            thread = threading.Thread(target=self._read, args=(id,), daemon=True)
            self._threads[id] = thread
        thread.start()

    def _read(self, id: str) -> None:
        """Pass on one container's output until it ends and no further run has begun."""
        reading = self._readings[id]
        name = reading.container.short_name()
        while True:
            try:
                for lines in reading.live(attached=id in self._attached):
                    self._writing.add(id)
                    self._sink.write_lines(name, lines)
                    self._writing.discard(id)
                    self._written[id] = self._written.get(id, 0) + 1
            except SkiffError:
                pass  # its log can't be read, or the engine is gone: `follow` notices that
            except OSError as error:
                self._failure = error
                self._wake()
                return
            with self._lock:
                self._attached.discard(id)
                if id not in self._again:
                    del self._threads[id]
                    return
                self._again.discard(id)
