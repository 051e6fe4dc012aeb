"""What a command does, on standard error as docker compose writes it: plain lines, JSON, nothing, or live."""

from __future__ import annotations

import sys
import threading
import time
from typing import Self, TextIO

from compose import events
from compose.go_json import go_json
from compose.render.measured import measured

MEASURED_EVERY_S = 10.0
"""How often a plain line says how far a step is."""
WORDS = {
    "create network": ("Network", "Creating", "Created"),
    "remove network": ("Network", "Removing", "Removed"),
    "disconnect": ("Container", "Disconnecting", "Disconnected"),
    "connect": ("Container", "Connecting", "Connected"),
    "create volume": ("Volume", "Creating", "Created"),
    "remove volume": ("Volume", "Removing", "Removed"),
    "remove image": ("Image", "Removing", "Removed"),
    "pull": ("Image", "Pulling", "Pulled"),
    "build": ("Image", "Building", "Built"),
    "create": ("Container", "Creating", "Created"),
    "recreate": ("Container", "Recreate", "Recreated"),
    "start": ("Container", "Starting", "Started"),
    "stop": ("Container", "Stopping", "Stopped"),
    "remove": ("Container", "Removing", "Removed"),
    "restart": ("Container", "Restarting", "Started"),
    "kill": ("Container", "Killing", "Killed"),
    "pause": ("Container", "Pausing", "Paused"),
    "unpause": ("Container", "Unpausing", "Unpaused"),
    "push": ("Image", "Pushing", "Pushed"),
    "copy": ("Container", "Copying", "Copied"),
    "commit": ("Container", "Committing", "Committed"),
    "export": ("Container", "Exporting", "Exported"),
}


class ProgressDisplay:
    """Writes the beginning and end of steps, a plain line each; safe from several threads.

    As a context manager it leaves the terminal as it was, whatever happens inside.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr
        self._lock = threading.Lock()
        self._measured_s: dict[str, float] = {}
        self.prefix = ""
        """Written before the name of every object ("DRY-RUN MODE - ")."""

    def line(self, text: str) -> None:
        """Write one line."""
        with self._lock:
            print(text, file=self._out, flush=True)

    def begin(self, kind: str, name: str) -> None:
        """Show that a step begins."""
        subject, doing, _ = WORDS[kind]
        self.state(subject, name, doing)

    def end(self, kind: str, name: str) -> None:
        """Show that a step is done."""
        subject, _, done = WORDS[kind]
        self.state(subject, name, done)

    def fail(self, kind: str, name: str, state: str = "Error") -> None:
        """Show that a step failed."""
        self.state(WORDS[kind][0], name, state)

    def state(self, subject: str, name: str, state: str) -> None:
        """Show the state of an object."""
        self.line(f" {self.prefix}{subject} {name} {state}")

    def output(self, kind: str, name: str, service: str, line: str) -> None:
        """Write a line that the step on `name` prints for `service`: builds print to standard output."""
        with self._lock:
            print(f" {service} | {line}", flush=True)

    def measure(self, event: events.StepMeasured) -> None:
        """Say how far a step is, from time to time."""
        now_s = time.monotonic()
        if now_s - self._measured_s.setdefault(event.name, now_s) >= MEASURED_EVERY_S:
            self._measured_s[event.name] = now_s
            subject, doing, _ = WORDS[event.kind]
            self.state(subject, event.name, measured(doing, event))

    def show(self, event: events.Event) -> None:
        """Show what happened."""
        match event:
            case events.StepBegan(kind, name):
                self.begin(kind, name)
            case events.StepEnded(kind, name):
                self.end(kind, name)
            case events.StepFailed(kind, name, state):
                self.fail(kind, name, state)
            case events.StepOutput(kind, name, service, line):
                self.output(kind, name, service, line)
            case events.StepMeasured():
                self.measure(event)
            case events.StateChanged(subject, name, state):
                self.state(subject, name, state)
            case events.Note(text):
                self.line(text)
            case events.Advised(text):
                self.advice(text)
            case events.Planned():
                self.planned(event)
            case events.HookOutput(container, phase, line):
                self.line(f" {container} {phase} | {line}")
            case _:
                pass

    def advice(self, text: str) -> None:
        """Say how something works better."""
        self.line(f" {text}")

    def planned(self, event: events.Planned) -> None:
        """Say what is about to change, and why."""
        self.line(f" {self.prefix}{change_line(event)}")

    def close(self) -> None:
        """Write nothing more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def change_line(event: events.Planned) -> str:
    """Return one change of a plan as a line: "api: environment.LOG_LEVEL info → debug → recreate"."""
    return f"{event.subject}: {event.reason} → {event.action}"


class QuietProgress(ProgressDisplay):
    """Writes nothing."""

    def line(self, text: str) -> None:
        """Write nothing."""

    def output(self, kind: str, name: str, service: str, line: str) -> None:
        """Write nothing."""


class JsonProgress(ProgressDisplay):
    """Writes a JSON object a line, as docker compose does: id, status (Working, Done, Error), text."""

    def _put(self, **document: str | int) -> None:
        is_dry = {"dry-run": True} if self.prefix else {}
        super().line(go_json(is_dry | document))

    def line(self, text: str) -> None:
        """Write one line."""
        self._put(text=text.strip())

    def begin(self, kind: str, name: str) -> None:
        """Show that a step begins."""
        subject, doing, _ = WORDS[kind]
        self._put(id=f"{subject} {name}", status="Working", text=doing)

    def fail(self, kind: str, name: str, state: str = "Error") -> None:
        """Show that a step failed."""
        self._put(id=f"{WORDS[kind][0]} {name}", status="Error", text=state)

    def state(self, subject: str, name: str, state: str) -> None:
        """Show the state of an object."""
        self._put(id=f"{subject} {name}", status="Working" if state == "Waiting" else "Done", text=state)

    def measure(self, event: events.StepMeasured) -> None:
        """Say how far a step is."""
        subject, doing, _ = WORDS[event.kind]
        about: dict[str, str | int] = {"id": f"{subject} {event.name}", "status": "Working"}
        about["text"] = measured(doing, event)
        if event.total_bytes:
            percent = 100 * event.current_bytes // event.total_bytes
            about |= {"current": event.current_bytes, "total": event.total_bytes, "percent": percent}
        self._put(**about)

    def advice(self, text: str) -> None:
        """Write a warning, as docker compose writes it."""
        ProgressDisplay.line(self, json_warning(text))

    def planned(self, event: events.Planned) -> None:
        """Write nothing: docker compose has no such object, and a container's own says what is done with it."""

    def output(self, kind: str, name: str, service: str, line: str) -> None:
        """Write a line that the step on `name` prints for `service`."""
        self._put(id=f"{WORDS[kind][0]} {name}", status="Working", text=line)


def json_error(text: str) -> str:
    """Return the error of a command that fails, as docker compose writes it with `--progress json`."""
    return go_json({"error": True, "message": text})


def json_warning(text: str) -> str:
    """Return a warning as docker compose writes it with `--progress json`."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return go_json({"level": "warning", "msg": text, "time": now})
