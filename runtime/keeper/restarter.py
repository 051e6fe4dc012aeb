"""Restarts a crashed engine with exponential backoff (0 to 8 s), then gives up."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from runtime.hints import Any

PAUSES_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
STEADY_S = 30.0
"""An engine that ran for this long resets the backoff: its start is not what makes it crash."""


class EngineRestarter:
    """The engine's command line, and when to start it again (`due_s`). Times are those of the monotonic clock."""

    def __init__(self, name: str = "keeper", pauses_s: Sequence[float] = PAUSES_S) -> None:
        """`name` is that of this process in the log; `pauses_s` are the delays before each attempt."""
        self._name = name
        self._pauses_s = pauses_s
        self.command: list[str] = []
        self.environment: dict[str, str] = {}
        self.due_s: float | None = None
        self.pid = 0
        self._since_s = 0.0
        self._deaths = 0

    def on_connected(self, message: dict[str, Any], now_s: float) -> None:
        """Store how the engine that has connected is started; cancel a scheduled restart."""
        self.command, self.environment = list(message["restart"]), dict(message["environment"])
        self.due_s = None
        self._since_s = now_s

    def on_lost(self, now_s: float) -> None:
        """Schedule a restart."""
        if not self.command or self.due_s is not None:
            return
        if now_s - self._since_s > STEADY_S:
            self._deaths = 0
        if self._deaths == len(self._pauses_s):
            self.say(f"the engine died {self._deaths + 1} times in a row: the next one is started for the next client")
            return
        self.due_s = now_s + self._pauses_s[self._deaths]
        self._deaths += 1

    def cancel(self, serving: int) -> None:
        """Cancel a scheduled restart, and one under way: `serving` is the PID of the engine that is in charge.

        Keeper and doorman may both have started an engine after a crash. The second waits for the first one's lock, and
        would serve the state root again when the first is stopped before it has looked.
        """
        self.due_s = None
        if self.pid not in (0, serving):
            os.kill(self.pid, signal.SIGKILL)

    @property
    def is_pending(self) -> bool:
        """Whether a restart is scheduled, or an engine has been started and has not connected yet."""
        return self.due_s is not None or self.pid != 0

    def start(self, now_s: float) -> None:
        """Fork and exec the engine."""
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
        """Write a line to standard error, which is the engine's log."""
        os.write(2, f"skiff {self._name}: {text}\n".encode())
