"""The engine's log: the standard library's `logging` to standard error, at the level of $SKIFF_LOG.

Keeper and doorman write their few messages with os.write(2): `logging` would cost each of them 2.6 MB.
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
    """Configure logging to standard error.

    Lines have the time and the level; for systemd's journal, which adds the time, the level as in sd-daemon(3).
    Raises SkiffError if $SKIFF_LOG is not one of `LEVELS`.
    """
    level = environment.get("SKIFF_LOG") or "info"
    if level.lower() not in LEVELS:
        raise SkiffError(f"$SKIFF_LOG is {level!r}, which is not a log level", f"set it to one of {', '.join(LEVELS)}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Priority() if _is_journal(environment) else logging.Formatter(FORMAT, TIME_FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


FORMAT = "%(asctime)s %(levelname)s: %(message)s"
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%z"


def _is_journal(environment: Mapping[str, str]) -> bool:
    """Whether standard error is systemd's journal: $JOURNAL_STREAM alone may be inherited with another stream."""
    error = os.fstat(2)
    return environment.get("JOURNAL_STREAM") == f"{error.st_dev}:{error.st_ino}"


class _Priority(logging.Formatter):
    """Prefixes each line of a message with its priority (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the prefixed lines of `record`."""
        prefix = f"<{PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())
