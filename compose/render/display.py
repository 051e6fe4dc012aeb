"""Which display of progress the flags and the terminal ask for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TextIO

from compose.render.progress import JsonProgress, ProgressDisplay, QuietProgress
from runtime.errors import SkiffError

MODES = ("auto", "tty", "plain", "json", "quiet")
BUILDKIT = {"plain": "plain", "tty": "tty", "quiet": "quiet", "rawjson": "json"}
TRUE = ("1", "t", "true")
QUIET = ("quiet", "none")


def make_progress(mode: str, ansi: str, environ: Mapping[str, str], out: TextIO | None = None) -> ProgressDisplay:
    """Return the display that `--progress` (or $COMPOSE_PROGRESS) and `--ansi` (or $COMPOSE_ANSI) want.

    $BUILDKIT_PROGRESS stands in for the latter; with $COMPOSE_STATUS_STDOUT it goes to standard output. "auto" draws live
    where `out` is a terminal. Raises SkiffError for a mode that is none, and for "tty" without ANSI.
    """
    out = out or (sys.stdout if environ.get("COMPOSE_STATUS_STDOUT", "").lower() in TRUE else sys.stderr)
    mode = mode or environ.get("COMPOSE_PROGRESS") or BUILDKIT.get(environ.get("BUILDKIT_PROGRESS", ""), "auto")
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
    return ProgressDisplay(out)
