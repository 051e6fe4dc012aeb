"""Times as users write them: a date, Unix time, or how long ago."""

from __future__ import annotations

import re
import time
from contextlib import suppress

from runtime.errors import SkiffError


def api_time(text: str) -> str:
    """Return a time as the Docker Engine API reads it, "" for ""; a duration ("10m") counts back from now.

    Raises SkiffError for what is neither.
    """
    if not text:
        return ""
    from compose.units import duration_ns

    if re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{1,9})?", text):
        return text
    if text[-1:] in ("s", "m", "h") and set(text) <= set("0123456789.hmsunµ"):
        with suppress(ValueError):
            return f"{time.time() - duration_ns(text) / 1e9:.9f}"
    from datetime import datetime

    whole, point, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))] if point else ""
    try:
        # what is finer than a microsecond is kept as it is written: a log line's own time finds the line
        seconds = datetime.fromisoformat(whole + rest[len(digits) :]).timestamp()
        return f"{int(seconds)}.{digits or 0}"
    except ValueError:
        raise SkiffError(
            f"{text!r} is neither a time nor a duration", "write 10m, 1h30m, or 2030-01-31T12:00:00"
        ) from None
