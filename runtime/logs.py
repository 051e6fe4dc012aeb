"""The engine's log: the standard library's `logging` on standard error, with the level of $SKIFF_LOG.

Keeper and doorman write their few lines themselves: `logging` would cost each of them 2.6 MB.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping

from runtime.errors import SkiffError

LEVELS = ("debug", "info", "warning", "error")
PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def configure(environment: Mapping[str, str]) -> None:
    """Have everything that is logged from now on written to standard error.

    Lines carry the time and the level; for systemd's journal, which has the time, the level as sd-daemon(3) reads it.
    Raises SkiffError when $SKIFF_LOG is none of `LEVELS`.
    """
    level = environment.get("SKIFF_LOG") or "info"
    if level.lower() not in LEVELS:
        raise SkiffError(
            f"$SKIFF_LOG is {level!r}, which is no level of the log", f"set it to one of {', '.join(LEVELS)}"
        )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Priority() if _is_journal(environment) else logging.Formatter(FORMAT, TIME_FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


FORMAT = "%(asctime)s %(levelname)s: %(message)s"
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%z"


def _is_journal(environment: Mapping[str, str]) -> bool:
    """Whether standard error is systemd's journal: a session's processes inherit the variable, whatever they write to."""
    error = os.fstat(2)
    return environment.get("JOURNAL_STREAM") == f"{error.st_dev}:{error.st_ino}"


class _Priority(logging.Formatter):
    """Puts the level before each line of a message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of `record`."""
        prefix = f"<{PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())
