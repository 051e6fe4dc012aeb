"""Waiting for containers to be started, healthy, completed; driven by the engine's events, without polling."""

from __future__ import annotations

import json
import math
import select
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from compose.units import ordinal
from runtime.client import Client
from runtime.client.blocking import ResponseStream
from runtime.errors import SkiffError
from runtime.http.codec import Body

LAST_LINES, LAST_CHARACTERS = 10, 60
READ_BYTES = 1 << 16
NEVER, DONE = math.inf, -math.inf
SETTLE_S = 0.5
"""How long a container without a health check has to run before it counts as up: one that exits at once is no success."""


def wait_healthy(
    client: Client,
    names: Sequence[str],
    *,
    needs_check: bool = False,
    timeout_s: float | None = None,
    report: Callable[[str, str], None] | None = None,
) -> None:
    """Return when every container is healthy, and each without a health check has run for a moment or exited with 0.

    `report(name, state)` is called for each that is ready. With `needs_check` a container without a health check is a
    failure, as `condition: service_healthy` wants it. Raises SkiffError, with the last probe and the last log lines,
    when one turns unhealthy or ends and its restart policy does not start it again, and when `timeout_s` seconds are over.
    """
    waiting = dict.fromkeys(names, 0.0)
    began_s = time.monotonic()
    with client.events({"type": ["container"], "event": ["health_status", "die", "start", "destroy"]}) as stream:
        events = _Events(stream)
        changed = set(waiting)
        while True:
            for name in changed & set(waiting):
                waiting[name] = _ready_in(client, name, needs_check, report, began_s)
            now_s = time.monotonic()
            for name, ready_s in list(waiting.items()):
                if ready_s <= now_s:
                    del waiting[name]
                    if ready_s != DONE:
                        _say(report, name, "Healthy")
            if not waiting:
                return
            until_s = min(waiting.values())
            if timeout_s is not None:
                if now_s >= began_s + timeout_s:
                    raise _too_late(client, sorted(waiting), timeout_s)
                until_s = min(until_s, began_s + timeout_s)
            changed = events.names(until_s)


class _Events:
    """The names of containers that events are about, read until a moment at most."""

    def __init__(self, stream: ResponseStream) -> None:
        self._socket = stream.socket
        self._body = Body(stream.head, until_close=True)
        self._rest = b"".join(self._body.feed(stream.rest))
        self._poller = select.poll()
        self._poller.register(self._socket, select.POLLIN)

    def names(self, until_s: float) -> set[str]:
        """Return the containers of the next events; none when `until_s` (monotonic seconds) passes first."""
        if b"\n" not in self._rest:
            left_ms = None if until_s == NEVER else max(0, math.ceil((until_s - time.monotonic()) * 1000))
            if not self._poller.poll(left_ms):
                return set()
            data = self._socket.recv(READ_BYTES)
            if not data:
                raise SkiffError(
                    "the engine closed the connection while waiting for containers", "try again; its log may say why"
                )
            self._rest += b"".join(self._body.feed(data))
        *lines, self._rest = self._rest.split(b"\n")
        return {json.loads(line)["Actor"]["Attributes"].get("name", "") for line in lines if line.strip()}


def _ready_in(
    client: Client, name: str, needs_check: bool, report: Callable[[str, str], None] | None, began_s: float
) -> float:
    """Return when (monotonic seconds) the container counts as up if nothing happens; waiting began at `began_s`.

    NEVER: an event has to come. DONE: it has exited and need not run.
    """
    about = client.container(name)
    state = about["State"]
    health = state.get("Health")
    if state.get("Restarting"):  # its policy goes on; what ends it for good is seen as its exit
        _say(report, name, _crash(client, name, about, time.monotonic() - began_s))
        return NEVER
    if not state["Running"] and state["ExitCode"] == 0 and not needs_check:  # it has done what it was made for
        _say(report, name, "Exited")
        return DONE
    if not state["Running"]:
        _say(report, name, "Error")
        raise SkiffError(
            f"container {name} exited ({state['ExitCode']}){_memory(state)}" + _last_log(client, name),
            "give it more: mem_limit" if _memory(state) else "`skiff logs` shows all of its output",
        )
    if health is None or health["Status"] == "none":
        if needs_check:
            _say(report, name, "Error")
            raise SkiffError(
                f"container {name} has no healthcheck configured",
                "give the service a healthcheck, or depend on it with condition: service_started",
            )
        began = datetime.fromisoformat(state["StartedAt"][:26].rstrip("Z") + "+00:00").timestamp()
        return time.monotonic() + max(0.0, SETTLE_S - max(0.0, time.time() - began))
    if health["Status"] == "unhealthy":
        _say(report, name, "Unhealthy")
        raise SkiffError(f"container {name} is unhealthy" + _last_probe(health) + _last_log(client, name))
    return 0.0 if health["Status"] == "healthy" else NEVER


def _crash(client: Client, name: str, about: Mapping[str, Any], waited_s: float) -> str:
    """Return how a container ended that is started again: how often that was, and its last line."""
    state = about["State"]
    times = int(about.get("RestartCount") or 0) + 1
    often = f", {ordinal(times)} time in {max(1, round(waited_s))} s" if times > 1 else ""
    last = _log(client, name, 1).strip()
    return f"Exited ({state['ExitCode']}){_memory(state)}{often}" + (f": {last[:LAST_CHARACTERS]}" if last else "")


def _say(report: Callable[[str, str], None] | None, name: str, state: str) -> None:
    if report is not None:
        report(name, state)


def _memory(state: Mapping[str, Any]) -> str:
    return ", out of memory" if state.get("OOMKilled") else ""


def _too_late(client: Client, names: Sequence[str], timeout_s: float) -> SkiffError:
    about = ""
    for name in names:
        health = client.container(name)["State"].get("Health") or {}
        about += f"\n    container {name} is {health.get('Status') or 'not running'}" + _last_probe(health)
    return SkiffError(f"application not healthy after {timeout_s:g}s{about}", "`skiff ps` and `skiff logs` say more")


def _last_probe(health: dict[str, object]) -> str:
    log = health.get("Log")
    if not isinstance(log, list) or not log:
        return ""
    probe = log[-1]
    output = str(probe.get("Output") or "").strip() or "(no output)"
    shown = "\n".join(f"      {line}" for line in output.splitlines()[-LAST_LINES:])
    tries = health.get("FailingStreak")
    return f"\n    last probe: exit code {probe.get('ExitCode')}, {tries} failed in a row, it printed:\n{shown}"


def _last_log(client: Client, name: str) -> str:
    text = _log(client, name, LAST_LINES)
    if not text:
        return "\n    it logged nothing"
    shown = "\n".join(f"      {line}" for line in text.splitlines())
    return f"\n    its last log lines:\n{shown}"


def _log(client: Client, name: str, lines: int) -> str:
    with client.logs(name, tail=lines) as stream:
        return b"".join(data for _, data in stream.frames()).decode(errors="replace").rstrip()


def wait_completed(client: Client, name: str) -> None:
    """Return when the container ended with exit code 0. Raises SkiffError when with another."""
    code = client.wait(name)
    if code:
        about = f"exit {code}" + _memory(client.container(name)["State"])
        raise SkiffError(f"service {name!r} didn't complete successfully: {about}" + _last_log(client, name))
