"""Rings, or shows a line on the desktop, when long work has ended: $SKIFF_NOTIFY."""

from __future__ import annotations

import shutil
import subprocess
import sys

BELL = "\a"
WAIT_S = 5


def notify(wanted: str, text: str) -> None:
    """Ring the terminal's bell ("bell"), or show `text` on the desktop ("desktop"); any other word does nothing.

    Without notify-send(1), as over SSH, the terminal is asked to show it (OSC 9, which iTerm2, kitty, WezTerm, Windows
    Terminal and others know), and rings.
    """
    if wanted == "desktop" and (program := shutil.which("notify-send")):
        # what it has to say is of no use to anybody, and the desktop may be away
        try:
            subprocess.run(
                [program, "--app-name=skiff", "skiff", text], capture_output=True, timeout=WAIT_S, check=True
            )
        except (OSError, subprocess.SubprocessError):
            pass
        else:
            return
    if wanted in ("bell", "desktop") and sys.stderr is not None and sys.stderr.isatty():
        shown = f"\x1b]9;{text}\x1b\\" if wanted == "desktop" else ""
        sys.stderr.write(shown + BELL)
        sys.stderr.flush()
