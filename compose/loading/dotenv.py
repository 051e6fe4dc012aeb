"""The grammar of .env and env_file: assignments with quotes, comments, escapes and variables. Pure.

It is that of the reference, also where a shell would differ: only " #" begins a comment behind an unquoted value, and a
last line without "=" and without an end is the value of a variable without a name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from compose.errors import ConfigError
from compose.loading.template import Lookup, TemplateError, substitute

ESCAPE = re.compile(r'\\(?:[abcfnrtv$"\\]|0\d{0,3})')
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "\\": "\\", '"': '"', "$": "$$"}
BLANK = "\t\v\f\r \x85\xa0"
NAME = re.compile(rf"[\w.\-\[\]{BLANK}]*")


def parse(
    text: str, file: str, lookup: Lookup, lines: dict[str, int] | None = None, earlier: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the variables that `text` sets; a name without a value takes its value from `lookup`, if it has one.

    In values, `lookup` comes before what the file itself has set, and that before `earlier`, what files before it have
    set. `lines` takes the line of each variable, counted from 1. Raises ConfigError.
    """
    found: dict[str, str] = {}

    def known(name: str) -> str | None:
        value = lookup(name)
        if value is None:
            value = found.get(name)
        return earlier.get(name) if value is None and earlier else value

    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    position, size = 0, len(text)
    line, counted = 1, 0
    while position < size:
        if text[position].isspace():
            position += 1
            continue
        if text[position] == "#":
            end = text.find("\n", position)
            position = size if end < 0 else end
            continue
        start = position
        if text.startswith("export", position) and text[position + 6 : position + 7].isspace():
            start = position + 6
            while start < size and text[start] in BLANK:
                start += 1
        line, counted = line + text.count("\n", counted, start), start
        end = _name_end(text, start, file, line)
        key = "" if end >= size else text[start:end].rstrip()
        if " " in key:
            raise ConfigError(f'the name "{key}" contains a space', file, line, 1)
        if lines is not None:
            lines[key] = line
        if end < size and text[end] == "\n":
            value = lookup(key)
            if value is not None:
                found[key] = value
            position = end + 1
            continue
        try:
            found[key], position = _value(text, start if end >= size else end + 1, known)
        except TemplateError as error:
            raise ConfigError(f"{key}: {error}", file, line, 1) from None
    return found


def parse_raw(text: str, file: str = "", lookup: Lookup | None = None) -> dict[str, str]:
    """Return the variables of an env_file of format "raw": everything after "=" as it stands. Raises ConfigError."""
    found: dict[str, str] = {}
    for number, full in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = full.removesuffix("\r").lstrip()
        if not line or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not key:
            raise ConfigError("a variable's name is missing", file, number, 1)
        if any(character in " \t" for character in key):
            raise ConfigError(f'the name "{key}" contains a space', file, number, 1)
        given = value if equals else lookup(key) if lookup else None
        if given is not None:
            found[key] = given
    return found


def _name_end(text: str, start: int, file: str, line: int) -> int:
    """Return where a name ends: at "=", ":" or the end of its line; the text's size where none of them comes."""
    match = NAME.match(text, start)
    end = match.end() if match else start
    if end < len(text) and text[end] not in "=:\n":
        column = end - text.rfind("\n", 0, end)
        raise ConfigError(f'unexpected character "{text[end]}" in a variable\'s name', file, line, column)
    return end


def _value(text: str, position: int, known: Lookup) -> tuple[str, int]:
    while position < len(text) and text[position] in BLANK:
        position += 1
    quote = text[position : position + 1]
    if quote and quote in "'\"":
        inner, position = _quoted(text, position, quote)
        return (substitute(_unescape(inner), known) if quote == '"' else inner), position
    end = text.find("\n", position)
    end = len(text) if end < 0 else end
    value = text[position:end].partition(" #")[0].rstrip()
    return substitute(value, known), end


def _quoted(text: str, start: int, quote: str) -> tuple[str, int]:
    """Return what stands between quotes, escaped quotes without their backslash, and the position behind it."""
    found: list[str] = []
    position = start + 1
    special = re.compile(rf"[\\{quote}]")
    while match := special.search(text, position):
        found.append(text[position : match.start()])
        position = match.end()
        if match[0] == quote:
            return "".join(found), position
        if position < len(text):
            following = text[position]
            found.append(following if following == quote else "\\" + following)
            position += 1
    raise TemplateError(f"the quote {quote} is not closed")


def _unescape(text: str) -> str:
    def plain(match: re.Match[str]) -> str:
        escape = match[0]
        if escape[1] != "0":
            return ESCAPES.get(escape[1], escape)
        digits = escape[2:]
        is_octal = len(digits) == 3 and not set(digits) & set("89") and int(digits, 8) < 256
        return chr(int(digits, 8)) if is_octal else "\\" + digits

    return ESCAPE.sub(plain, text) if "\\" in text else text
