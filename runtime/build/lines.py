"""A Dockerfile's text to its logical lines: directives, comments, continuations, here-documents.

Source: Dockerfile reference, "Format", "Parser directives", "Here-documents".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runtime.build.errors import DockerfileError

DIRECTIVES = ("syntax", "escape", "check")
LONGEST_LINE_BYTES = (64 << 10) - 1
"""What BuildKit reads as one line."""
HEREDOC_KEYWORDS = ("RUN", "COPY", "ADD")

_DIRECTIVE = re.compile(r"^#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*$")
_HEREDOC_WORD = re.compile(r"""^(\d*)<<(-?)(?:(['"])([^<'"|&;()]+)\3|()([^<'"\s|&;()]+))$""")


@dataclass(frozen=True)
class Heredoc:
    """One here-document: its delimiter, its text, and whether variables in it are expanded (an unquoted delimiter)."""

    name: str
    content: str
    expand: bool
    strip_tabs: bool = False


@dataclass(frozen=True)
class LogicalLine:
    """One instruction as written: continuations joined, comments gone, its here-documents apart."""

    text: str
    line: int
    heredocs: tuple[Heredoc, ...] = ()
    empty_at: int = 0
    """The last line of an instruction with empty lines in it, else 0."""


@dataclass(frozen=True)
class Source:
    """A whole Dockerfile as logical lines, with its parser directives."""

    directives: Mapping[str, str]
    lines: tuple[LogicalLine, ...]

    @property
    def escape(self) -> str:
        """The escape character: a backslash, or a backtick where the directive says so."""
        return self.directives.get("escape", "\\")


def read_source(text: str) -> Source:
    """Split a Dockerfile into logical lines.

    Raises DockerfileError for a bad directive, a line that is too long and for a here-document without end.
    """
    physical = text.removeprefix("\ufeff").split("\n")
    for number, line in enumerate(physical, 1):
        if len(line) > LONGEST_LINE_BYTES // 4 and len(line.encode()) > LONGEST_LINE_BYTES:
            raise DockerfileError(
                f"dockerfile line greater than max allowed size of {LONGEST_LINE_BYTES}",
                number,
                "break it with a backslash, or put the content into a file and COPY it",
            )
    directives = _read_directives(physical)
    escape = directives.get("escape", "\\")
    return Source(directives, tuple(_logical_lines(physical, escape)))


def _read_directives(physical: list[str]) -> dict[str, str]:
    directives: dict[str, str] = {}
    for number, line in enumerate(physical, 1):
        match = _DIRECTIVE.match(line.strip())
        if match is None or (name := match[1].lower()) not in DIRECTIVES:
            break
        if name in directives:
            raise DockerfileError(f"the parser directive {name!r} is given twice", number)
        directives[name] = match[2]
        if name == "escape" and match[2] not in ("\\", "`"):
            raise DockerfileError(f"invalid escape token {match[2]!r}", number, "it is a backslash or a backtick")
    return directives


def _logical_lines(physical: list[str], escape: str) -> Iterator[LogicalLine]:
    token = re.escape(escape)
    # a doubled escape character at the end stands for itself and continues nothing
    continuation = re.compile(rf"(?:(?<!{token})|^){token}[ \t]*$")
    index = 0
    while index < len(physical):
        if not (line := physical[index].strip()) or line.startswith("#"):
            index += 1
            continue
        first = index + 1
        parts: list[str] = []
        continues, has_gap = True, False
        while continues and index < len(physical):
            line = physical[index].removesuffix("\r")
            index += 1
            stripped = line.strip()
            if parts and (not stripped or stripped.startswith("#")):
                has_gap = has_gap or not stripped
                continue
            continues = continuation.search(line) is not None
            parts.append(continuation.sub("", line) if continues else line)
        joined = "".join(parts).strip()
        if not joined:
            continue
        last = index
        heredocs, index = _read_heredocs(joined, physical, index, first, escape)
        yield LogicalLine(joined, first, heredocs, last if has_gap else 0)


def _read_heredocs(
    text: str, physical: list[str], index: int, line: int, escape: str
) -> tuple[tuple[Heredoc, ...], int]:
    words = text.split(None, 2)
    keyword = words[0].upper()
    if keyword == "ONBUILD" and len(words) > 1:
        keyword = words[1].upper()
    if keyword not in HEREDOC_KEYWORDS or "<<" not in text:
        return (), index
    heredocs = []
    for word in split_words(text, escape):
        match = _HEREDOC_WORD.match(word)
        if match is None:
            continue
        strip_tabs, name, content = bool(match[2]), match[4] or match[6], []
        while True:
            if index >= len(physical):
                raise DockerfileError(f"unterminated heredoc {name!r}", line, f"no line reads just {name}")
            body = physical[index].lstrip("\t") if strip_tabs else physical[index]
            index += 1
            if body.removesuffix("\r") == name:
                break
            content.append(body + "\n")
        heredocs.append(Heredoc(name, "".join(content), expand=not match[3], strip_tabs=strip_tabs))
    return tuple(heredocs), index


def split_words(text: str, escape: str = "\\") -> list[str]:
    """Split at white space outside quotes; quotes and escapes stay in the words, for `expansion` to take away."""
    words: list[str] = []
    word: list[str] = []
    quote = ""
    characters = iter(text)
    for character in characters:
        if character == escape and quote != "'":
            word.append(character + next(characters, ""))
        elif quote:
            word.append(character)
            quote = "" if character == quote else quote
        elif character in "\"'":
            word.append(character)
            quote = character
        elif character.isspace():
            if word:
                words.append("".join(word))
                word = []
        else:
            word.append(character)
    if word:
        words.append("".join(word))
    return words
