"""Events of a use case on the user's terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping

from compose import events
from compose.render.display import make_progress
from compose.render.progress import ProgressDisplay

LONG_S = 10.0
"""What takes less, nobody went away for."""


class Display:
    """Shows events: blocks of steps as `--progress` and `--ansi` want them, all else as plain lines.

    Safe from several threads. `prefix` is written before everything that a step is about.
    """

    def __init__(
        self, mode: str, ansi: str, environ: Mapping[str, str], warn: Callable[[str], None], *, prefix: str = ""
    ) -> None:
        self._mode, self._ansi, self._environ = mode, ansi, environ
        self._warn = warn
        self._prefix = prefix
        self._block: ProgressDisplay | None = None
        self._depth = 0
        """Number of blocks that are open: one inside another is shown as part of it."""
        self._lock = threading.Lock()

    def show(self, event: events.Event) -> None:
        """Show one event. Raises SkiffError when a block begins and the flags ask for a display that there is not."""
        match event:
            case events.WorkBegan():
                self._begin()
            case events.WorkEnded():
                self._end()
            case events.Warned(text):
                self._warn(text)
            case events.ContainerExited(name, exit_code):
                print(f'container "{name}" exited with status code {exit_code}', flush=True)
            case events.Attached(names):
                print(f"Attaching to {', '.join(names)}", flush=True)
            case events.Aborting():
                print("Aborting on container exit...", file=sys.stderr, flush=True)
            case events.WatchReport(text):
                _write_line(f"  ⦿ {self._prefix}{text}")
            case events.HookPrinted(line):
                _write_line(line)
            case events.Finished(text, took_s):
                if took_s >= LONG_S and (wanted := self._environ.get("SKIFF_NOTIFY", "")):
                    from compose.cli.notification import notify

                    notify(wanted, text)
            case _:
                # outside of a block: what is left to do after an interrupt
                (self._block or ProgressDisplay()).show(event)

    def _begin(self) -> None:
        with self._lock:
            if self._block is None:
                self._block = make_progress(self._mode, self._ansi, self._environ)
                self._block.prefix = self._prefix
            self._depth += 1

    def _end(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth <= 0 and self._block is not None:
                self._block.close()
                self._block = None


def _write_line(line: str) -> None:
    """Write a line to standard output at once: other threads may write, too."""
    sys.stdout.buffer.write(f"{line}\n".encode(errors="replace"))
    sys.stdout.buffer.flush()
