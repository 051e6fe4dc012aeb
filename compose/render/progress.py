"""What a command does, on standard error as docker compose writes it: plain lines, JSON, nothing, or live."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Self, TextIO

from runtime.errors import SkiffError

MODES = ("auto", "tty", "plain", "json", "quiet")
QUIET = ("quiet", "none")

WORDS = {
    "create network": ("Network", "Creating", "Created"),
    "remove network": ("Network", "Removing", "Removed"),
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


class Progress:
    """Writes the beginning and end of steps, a plain line each; safe from several threads.

    As a context manager it leaves the terminal as it was, whatever happens inside.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr
        self._lock = threading.Lock()
        self.prefix = ""
        """What stands before everything that a step is about."""

    def line(self, text: str) -> None:
        """Write one line."""
        with self._lock:
            print(text, file=self._out, flush=True)

    def begin(self, kind: str, name: str) -> None:
        """Say that a step begins."""
        subject, doing, _ = WORDS[kind]
        self.state(subject, name, doing)

    def end(self, kind: str, name: str) -> None:
        """Say that a step is done."""
        subject, _, done = WORDS[kind]
        self.state(subject, name, done)

    def fail(self, kind: str, name: str, state: str = "Error") -> None:
        """Say that a step failed."""
        self.state(WORDS[kind][0], name, state)

    @contextmanager
    def step(self, kind: str, name: str) -> Iterator[None]:
        """Say that a step begins, and how it ends."""
        self.begin(kind, name)
        try:
            yield
        except BaseException:
            self.fail(kind, name)
            raise
        self.end(kind, name)

    def state(self, subject: str, name: str, state: str) -> None:
        """Say what is so."""
        self.line(f" {self.prefix}{subject} {name}  {state}")

    def output(self, kind: str, name: str, service: str, line: str) -> None:
        """Write a line that the step on `name` prints for `service`."""
        self.line(f" {service} | {line}")

    def close(self) -> None:
        """Write no more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class QuietProgress(Progress):
    """Writes nothing."""

    def line(self, text: str) -> None:
        """Write nothing."""


class JsonProgress(Progress):
    """Writes a JSON object a line, as docker compose does: id, status (Working, Done, Error), text."""

    def _put(self, **document: str) -> None:
        is_dry = {"dry-run": True} if self.prefix else {}
        super().line(json.dumps(is_dry | document, ensure_ascii=False))

    def line(self, text: str) -> None:
        """Write one line."""
        self._put(text=text.strip())

    def begin(self, kind: str, name: str) -> None:
        """Say that a step begins."""
        subject, doing, _ = WORDS[kind]
        self._put(id=f"{subject} {name}", status="Working", text=doing)

    def fail(self, kind: str, name: str, state: str = "Error") -> None:
        """Say that a step failed."""
        self._put(id=f"{WORDS[kind][0]} {name}", status="Error", text=state)

    def state(self, subject: str, name: str, state: str) -> None:
        """Say what is so."""
        self._put(id=f"{subject} {name}", status="Working" if state == "Waiting" else "Done", text=state)

    def output(self, kind: str, name: str, service: str, line: str) -> None:
        """Write a line that the step on `name` prints for `service`."""
        self._put(id=f"{WORDS[kind][0]} {name}", status="Working", text=line)


def json_error(text: str) -> str:
    """Return the last word of a command that fails, as docker compose writes it with `--progress json`."""
    return json.dumps({"error": True, "message": text}, ensure_ascii=False)


def json_warning(text: str) -> str:
    """Return a warning as docker compose writes it with `--progress json`."""
    told = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return json.dumps({"level": "warning", "msg": text, "time": told}, ensure_ascii=False)


def make_progress(mode: str, ansi: str, environ: Mapping[str, str], out: TextIO | None = None) -> Progress:
    """Return the display that `--progress` (or $COMPOSE_PROGRESS) and `--ansi` (or $COMPOSE_ANSI) want.

    "auto" draws live where `out` is a terminal. Raises SkiffError for a mode that is none, and for "tty" without ANSI.
    """
    out = out or sys.stderr
    mode = mode or environ.get("COMPOSE_PROGRESS") or "auto"
    ansi = environ.get("COMPOSE_ANSI") or "auto" if ansi == "auto" else ansi
    if ansi not in ("auto", "never", "always"):
        raise SkiffError(f'unsupported --ansi value "{ansi}"', "write never, always or auto")
    if mode not in (*MODES, *QUIET):
        raise SkiffError(f'unsupported --progress value "{mode}"', f"write one of {', '.join(MODES)}")
    if mode == "tty" and ansi == "never":
        raise SkiffError("can't use --progress tty while ANSI support is disabled", "leave --ansi never out")
    if mode == "plain" and ansi == "always":
        raise SkiffError("can't use --progress plain while ANSI support is forced", "leave --ansi always out")
    if mode in QUIET:
        return QuietProgress(out)
    if mode == "json":
        return JsonProgress(out)
    is_terminal = out.isatty() and environ.get("TERM") != "dumb"
    if mode == "tty" or (mode == "auto" and ansi != "never" and (is_terminal or ansi == "always")):
        from compose.render.live import LiveProgress

        return LiveProgress(out, colour=not environ.get("NO_COLOR"))
    return Progress(out)
