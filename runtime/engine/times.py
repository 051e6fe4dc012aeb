"""Formats and parses times and durations of the Docker Engine API. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from runtime.errors import BadRequestError

SECOND_NS = 1_000_000_000
UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SECONDS = re.compile(r"(-?[0-9]{1,12})(?:\.([0-9]{1,9}))?")
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?)?)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")


def rfc3339(time_ns: int) -> str:
    """Format nanoseconds since 1970 as the Docker Engine API does."""
    seconds, rest = divmod(time_ns, SECOND_NS)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest:09d}Z"


def parse_rfc3339(text: str) -> int:
    """Parse `text` to nanoseconds since 1970; Docker's "never" (year 1) is 0. Raises ValueError."""
    if not text or text.startswith("0001"):
        return 0
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an RFC 3339 time")
    zone = "+00:00" if match[3] in (None, "Z") else match[3]
    whole = match[1] if len(match[1]) > len("2000-01-01") else f"{match[1]}T00:00:00"
    seconds = int(datetime.fromisoformat(whole + zone).timestamp())
    return seconds * SECOND_NS + int(((match[2] or "") + "000000000")[:9])


def moment(text: str, now_ns: int) -> int:
    """Parse a time to nanoseconds since 1970: seconds since 1970, RFC 3339, or a duration before `now_ns`.

    Raises BadRequestError.
    """
    if match := _SECONDS.fullmatch(text):
        sign = -1 if match[1].startswith("-") else 1
        return int(match[1]) * SECOND_NS + sign * int(((match[2] or "") + "000000000")[:9])
    parts = _DURATION_PART.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return now_ns - int(sum(float(number) * UNITS_S[unit] for number, unit in parts) * 1e9)
    try:
        return parse_rfc3339(text)
    except (ValueError, OverflowError) as error:
        # Docker's own words: it reads what is no date as a number, with Go's strconv
        raise BadRequestError(
            f'strconv.ParseInt: parsing "{text}": invalid syntax', "use seconds since 1970, RFC 3339, or a duration"
        ) from error


def go_duration(seconds: float) -> str:
    """Format a duration as Go's time.Duration does: "1m30s", "1.5s"."""
    total_ns = round(seconds * 1e9)
    if total_ns == 0:
        return "0s"
    if total_ns < SECOND_NS:
        for unit, size in (("ms", 1_000_000), ("µs", 1000), ("ns", 1)):
            if total_ns >= size:
                return f"{_decimal(total_ns, size)}{unit}"
    minutes, rest_ns = divmod(total_ns, 60 * SECOND_NS)
    hours, minutes = divmod(minutes, 60)
    shown = f"{_decimal(rest_ns, SECOND_NS)}s"
    if hours:
        return f"{hours}h{minutes}m{shown}"
    return f"{minutes}m{shown}" if minutes else shown


def _decimal(value: int, size: int) -> str:
    whole, rest = divmod(value, size)
    fraction = str(rest).zfill(len(str(size)) - 1).rstrip("0") if rest else ""
    return f"{whole}.{fraction}" if fraction else str(whole)
