"""Starting the engine anew when it went without a word: at once, then ever later, and in the end not any more."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from runtime.hints import Any

PAUSES_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
STEADY_S = 30.0
"""An engine that was there for so long did not die of how it starts."""


class EngineRestarter:
    """What is known of the engine's process, and when it is to be started again. Times are of the monotonic clock."""

    def __init__(self, name: str = "keeper", pauses_s: Sequence[float] = PAUSES_S) -> None:
        """`name` is who starts it, as the log is to call it; `pauses_s` are those before each attempt."""
        self._name = name
        self._pauses_s = pauses_s
        self.command: list[str] = []
        self.environment: dict[str, str] = {}
        self.due_s: float | None = None
        self.pid = 0
        self._since_s = 0.0
        self._deaths = 0

    def on_connected(self, message: dict[str, Any], now_s: float) -> None:
        """Take note that an engine is here, and how it is started."""
        self.command, self.environment = list(message["restart"]), dict(message["environment"])
        self.due_s = None
        self._since_s = now_s

    def on_lost(self, now_s: float) -> None:
        """Take note that the engine is gone, and plan when to start it."""
        if not self.command or self.due_s is not None:
            return
        if now_s - self._since_s > STEADY_S:
            self._deaths = 0
        if self._deaths == len(self._pauses_s):
            self.say(f"the engine died {self._deaths + 1} times in a row: the next one is started for the next client")
            return
        self.due_s = now_s + self._pauses_s[self._deaths]
        self._deaths += 1

    def forget(self) -> None:
        """Start nothing: there is nothing to keep, or the engine said goodbye."""
        self.due_s = None

    @property
    def is_pending(self) -> bool:
        """Whether an engine is to be started, or is on its way."""
        return self.due_s is not None or self.pid != 0

    def start(self, now_s: float) -> None:
        """Start the engine."""
        self.due_s = None
        self._since_s = now_s
        self.say(f"starting the engine again, attempt {self._deaths}" if self._deaths else "starting the engine")
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setsid()
                for number in (signal.SIGPIPE, signal.SIGHUP, signal.SIGINT):
                    signal.signal(number, signal.SIG_DFL)
                os.execve(self.command[0], self.command, self.environment)
            finally:
                os._exit(127)

    def say(self, text: str) -> None:
        """Write a line into the engine's log, which is that of whoever starts it too."""
        os.write(2, f"skiff {self._name}: {text}\n".encode())
