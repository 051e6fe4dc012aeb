"""How severe a line of a log is, by what loggers write: JSON, logfmt, words before the message, numbers. Pure."""

from __future__ import annotations

import re

LEVELS = ("trace", "debug", "info", "warn", "error", "fatal")
NAMES = {
    "trace": ("trace", "finest", "verbose"),
    "debug": ("debug", "fine"),
    "info": ("info", "notice", "information", "log"),
    "warn": ("warn", "warning"),
    "error": ("error", "err", "severe"),
    "fatal": ("fatal", "critical", "crit", "panic", "alert", "emerg", "emergency"),
}
"""What loggers call each level."""
_RANKS = {name.encode(): rank for rank, level in enumerate(LEVELS) for name in NAMES[level]}
_LONGEST_FIRST: list[bytes] = sorted(_RANKS, key=len, reverse=True)
_WORDS = b"|".join(_LONGEST_FIRST)
_KEYED = re.compile(
    rb"""(?i)["']?\b(?:log[._]?)?(?:level|lvl|severity)(?:_?name)?["']?\s*[:=]\s*(?:["']?("""
    + _WORDS
    + rb""")\b|(\d+))"""
)
"""A member of JSON or a pair of logfmt: "level":"warn", level=50."""
_KEY_PARTS = (b"evel", b"EVEL", b"lvl", b"LVL", b"everity", b"EVERITY")
"""What each name of such a member has: looking for it is cheaper than the expression."""
_PREFIX = re.compile(
    rb"(?:^|[\s\[(<|:\]])(?:(" + _WORDS.upper() + rb")(?=[\])>|:,!\s]|$))"  # 2030-01-31 12:00:00 INFO main
    rb"|(?i:[\[(<|](" + _WORDS + rb")[\])>|])"  # [warn]
    rb"|(?i:(?:^|\s)(" + _WORDS + rb"):\s)"  # error: not found
    rb"|(?i:\t(" + _WORDS + rb")\t)"
)
"""A word before the message; in the midst of a sentence ("no error was found") it is none."""
_KLOG = re.compile(rb"([IWEF])(?:0\d|1[0-2])[0-3]\d \d\d:")
_PRIORITY = re.compile(rb"<([0-7])>")
_RAISED = re.compile(rb"(?:[\w.]+\.)?\w*(?:Error|Exception|Panic)\b|Traceback \(most recent call last\)|panic:")
PREFIX_BYTES = 120
"""How far from its beginning a line says its level."""
_KLOG_RANKS = {b"I": 2, b"W": 3, b"E": 4, b"F": 5}
_PRIORITIES = (5, 5, 5, 4, 3, 2, 2, 1)
"""The ranks of syslog's priorities (RFC 5424, section 6.2.1)."""
CONTINUED = (b" ", b"\t", b"Caused by:", b"Traceback (")
"""How lines begin that belong to the one before: of a traceback, or of a document that is printed in several."""


def rank(level: str) -> int:
    """Return the place of a level by any of its names, the least severe is 0. Raises KeyError."""
    return _RANKS[level.lower().encode()]


def rank_of(line: bytes) -> int | None:
    """Return how severe a line says it is, as a place in LEVELS; None where it says nothing."""
    if any(part in line for part in _KEY_PARTS) and (keyed := _KEYED.search(line)) is not None:
        return _RANKS[keyed[1].lower()] if keyed[1] else _of_number(int(keyed[2]))
    if (klog := _KLOG.match(line)) is not None:
        return _KLOG_RANKS[klog[1]]
    if (priority := _PRIORITY.match(line)) is not None:
        return _PRIORITIES[int(priority[1])]
    if (prefix := _PREFIX.search(line, 0, PREFIX_BYTES)) is not None:
        return _RANKS[prefix[prefix.lastindex or 0].lower()]
    return LEVELS.index("error") if _RAISED.match(line) else None


def _of_number(number: int) -> int:
    """Return the rank of a number: pino's and bunyan's (10 to 60), or syslog's (0 to 7)."""
    return min(max(number // 10 - 1, 0), 5) if number >= 10 else _PRIORITIES[min(number, 7)]


def candidates(least: int) -> tuple[bytes, ...]:
    """Return texts in lower case of which each line of rank `least` or more has one, unless its level is a number."""
    words = [name for name, rank in _RANKS.items() if rank >= least]
    klog = [
        b"\n" + letter.lower() + digit
        for letter, rank in _KLOG_RANKS.items()
        if rank >= least
        for digit in (b"0", b"1")
    ]
    raised = [b"exception", b"traceback"] if least <= LEVELS.index("error") else []
    # "error" is in "errors", and "err" in both: the shortest finds all
    short = [word for word in words if not any(other != word and other in word for other in words)]
    return (*short, *klog, *raised, b"\n<")


def numbers(least: int) -> tuple[re.Pattern[bytes], ...]:
    """Return expressions of which each line in lower case has one whose level is a number of rank `least` or more."""
    tens = b"".join(b"%d" % ten for ten in range(1, 10) if _of_number(10 * ten) >= least)
    small = b"".join(b"%d" % one for one in range(8) if _of_number(one) >= least)
    # each begins with a literal, which makes a search fast
    return tuple(
        re.compile(key + rb"""["']?\s*[:=]\s*(?:[""" + tens + rb"]\d|[" + small + rb"]\b)")
        for key in (b"evel", b"lvl", b"everity")
    )
