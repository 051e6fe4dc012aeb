"""Which lines of a log are shown: by regular expressions, and by how severe they are. Pure.

Output comes in blocks of many lines. A block is searched as a whole, and only lines where something was found are looked
at one by one: a filter that keeps little costs little more than reading.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from compose.logs.levels import CONTINUED, LEVELS, candidates, numbers, rank, rank_of
from runtime.errors import SkiffError

_LINEWISE = re.compile(rb"\\[AZ]|\(\?")
"""What means something else in a block than in a line."""
SPARSE = 4
"""A block is searched for words while at most one line in so many has one."""


class LineFilter:
    """Keeps lines that match one of `grep` (all, if there are none), none of `exclude`, and are at least of `level`."""

    def __init__(self, grep: Sequence[str] = (), exclude: Sequence[str] = (), level: str = "") -> None:
        """Raises SkiffError for a regular expression or a level that is none."""
        self._grep = _Pattern(grep, "--grep") if grep else None
        self._exclude = _Pattern(exclude, "--exclude") if exclude else None
        self._least = _rank(level) if level else None
        self._words = candidates(self._least) if self._least is not None else ()
        self._numbers = numbers(self._least) if self._least is not None else ()
        self._continues: dict[object, bool] = {}

    def keep(self, text: bytes, key: object = None) -> bytes:
        """Return the lines of `text` (whole ones) that are shown; `key` says which log they follow in."""
        if self._least is not None:
            text = self._severe(text, key)
        if self._grep is not None and text:
            text = b"".join(self._grep.lines(text))
        if self._exclude is not None and text:
            text = b"".join(self._exclude.others(text))
        return text

    def _severe(self, text: bytes, key: object) -> bytes:
        kept: list[bytes] = []
        shows = self._continues.get(key, False)  # whether the line before `end` is shown, and what belongs to it
        end = 0
        for start in self._starts(text):
            if shows:
                kept.append(text[end : (end := _continued(text, end))])
            if start < end:
                continue
            line_end = _line_end(text, start)
            found = rank_of(text[start : line_end - 1])
            shows = found is not None and found >= (self._least or 0)
            if shows:
                kept.append(text[start:line_end])
            end = line_end
        if shows:
            kept.append(text[end : (end := _continued(text, end))])
        self._continues[key] = shows and end == len(text)
        return b"".join(kept)

    def _starts(self, text: bytes) -> Iterator[int]:
        """Yield where lines begin that may be severe enough, in order."""
        lower = b"\n" + text.lower()  # so that an offset in it is one behind the offset in `text`
        lines = text.count(b"\n")
        found: set[int] = set()

        def find_all(find: Callable[[int], int], skip: int) -> bool:
            """Add the lines that `find` leads to; False: there are so many that a look at each line costs less."""
            at = find(0)
            while at >= 0:
                start = at if skip else lower.rfind(b"\n", 0, at)
                found.add(start)
                end = lower.find(b"\n", start + 1)
                at = find(end) if end >= 0 else -1
                if len(found) * SPARSE > lines:
                    return False
            return True

        for word in self._words:
            if not find_all(partial(lower.find, word), word.startswith(b"\n")):
                yield from _all_starts(text)
                return
        for number in self._numbers:
            if not find_all(lambda at, number=number: _search(number, lower, at), 0):  # type: ignore[misc]
                yield from _all_starts(text)
                return
        yield from sorted(found)


def _search(pattern: re.Pattern[bytes], text: bytes, at: int) -> int:
    match = pattern.search(text, at)
    return match.start() if match else -1


def _all_starts(text: bytes) -> Iterator[int]:
    start = 0
    while start < len(text):
        yield start
        start = _line_end(text, start)


def _line_end(text: bytes, start: int) -> int:
    return text.find(b"\n", start) + 1 or len(text)


def _continued(text: bytes, end: int) -> int:
    """Return where the lines end that follow from `end` on and belong to the one before."""
    while end < len(text) and text.startswith(CONTINUED, end):
        end = _line_end(text, end)
    return end


class _Pattern:
    """Regular expressions of which a line has to match one, or none."""

    def __init__(self, patterns: Sequence[str], flag: str) -> None:
        for pattern in patterns:
            try:
                re.compile(pattern.encode())
            except re.error as error:
                raise SkiffError(
                    f"{flag}: {pattern!r} is not a regular expression: {error.msg}",
                    "put a backslash before a character that is meant as it is: \\( \\[ \\*",
                ) from None
        text = b"|".join(b"(?:" + pattern.encode() + b")" for pattern in patterns) if len(patterns) > 1 else None
        whole = text or patterns[0].encode()
        self._is_linewise = any(_LINEWISE.search(pattern.encode()) for pattern in patterns)
        self._line = re.compile(whole)
        self._block = re.compile(whole, re.MULTILINE)

    def _spans(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Yield begin and end of each line that matches."""
        if self._is_linewise:
            for start in _all_starts(text):
                end = _line_end(text, start)
                if self._line.search(text[start : end - 1]):
                    yield start, end
            return
        at = 0
        while at < len(text) and (match := self._block.search(text, at)) is not None:
            start = text.rfind(b"\n", at, match.start()) + 1 or at
            end = _line_end(text, match.start())
            # a match that goes beyond its line (\\s, [^x]) may be none within it
            if match.end() < end or self._line.search(text[start : end - 1]):
                yield start, end
            at = end

    def lines(self, text: bytes) -> Iterator[bytes]:
        for start, end in self._spans(text):
            yield text[start:end]

    def others(self, text: bytes) -> Iterator[bytes]:
        at = 0
        for start, end in self._spans(text):
            yield text[at:start]
            at = end
        yield text[at:]


def _rank(level: str) -> int:
    try:
        return rank(level)
    except KeyError:
        raise SkiffError(f"--level: {level!r} is no level", f"write one of {', '.join(LEVELS)}") from None
