"""What a command does, a line a step, on standard error as docker compose writes it."""

from __future__ import annotations

import sys
import threading
from typing import TextIO

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
}


class Progress:
    """Writes the beginning and end of steps; safe from several threads. `mode` is "plain" or "quiet"."""

    def __init__(self, mode: str = "plain", out: TextIO | None = None) -> None:
        self._quiet = mode == "quiet"
        self._out = out or sys.stderr
        self._lock = threading.Lock()

    def line(self, text: str) -> None:
        """Write one line."""
        if self._quiet:
            return
        with self._lock:
            print(text, file=self._out, flush=True)

    def begin(self, kind: str, name: str) -> None:
        """Say that a step begins."""
        subject, doing, _ = WORDS[kind]
        self.line(f" {subject} {name}  {doing}")

    def end(self, kind: str, name: str) -> None:
        """Say that a step is done."""
        subject, _, done = WORDS[kind]
        self.line(f" {subject} {name}  {done}")

    def state(self, subject: str, name: str, state: str) -> None:
        """Say what is so."""
        self.line(f" {subject} {name}  {state}")
