"""The grammar of .env and env_file: assignments with quotes, comments, escapes and variables. Pure."""

from __future__ import annotations

from compose.errors import ConfigError
from compose.spec.template import Lookup, TemplateError, substitute

ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "\\": "\\", '"': '"', "$": "$$"}


def parse(text: str, file: str, lookup: Lookup) -> dict[str, str]:
    """Return the variables that `text` sets; a name without a value takes its value from `lookup`, if it has one.

    In values, `lookup` comes before what the file itself has set.
    """
    found: dict[str, str] = {}

    def known(name: str) -> str | None:
        value = lookup(name)
        return found.get(name) if value is None else value

    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    position, size = 0, len(text)
    while position < size:
        if text[position].isspace():
            position += 1
            continue
        if text[position] == "#":
            position = _line_end(text, position)
            continue
        start = position
        if text.startswith("export", position) and text[position + 6 : position + 7] in (" ", "\t"):
            start = position + 6
        end = start
        while end < size and text[end] not in "=:\n":
            character = text[end]
            if not (character.isalnum() or character in "_.-[]" or character.isspace()):
                line = text.count("\n", 0, end) + 1
                column = end - text.rfind("\n", 0, end)
                raise ConfigError(f'unexpected character "{character}" in a variable\'s name', file, line, column)
            end += 1
        key = text[start:end].strip()
        line = text.count("\n", 0, start) + 1
        if " " in key or "\t" in key:
            raise ConfigError(f'the name "{key}" contains a space', file, line, 1)
        if end >= size or text[end] == "\n":
            value = lookup(key)
            if value is not None:
                found[key] = value
            position = end + 1
            continue
        if not key:
            raise ConfigError("a variable's name is missing", file, line, 1)
        try:
            found[key], position = _value(text, end + 1, known)
        except TemplateError as error:
            raise ConfigError(f"{key}: {error}", file, line, 1) from None
    return found


def parse_raw(text: str) -> dict[str, str]:
    """Return the variables of an env_file of format "raw": everything after "=" as it stands."""
    found = {}
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            key, _, value = line.partition("=")
            found[key.strip()] = value
    return found


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _value(text: str, position: int, known: Lookup) -> tuple[str, int]:
    while position < len(text) and text[position] in " \t\v\f\r":
        position += 1
    quote = text[position : position + 1]
    if quote in ("'", '"') and quote:
        end = position + 1
        while end < len(text) and text[end] != quote:
            end += 2 if text[end] == "\\" else 1
        if end >= len(text):
            raise TemplateError(f"the quote {quote} is not closed")
        inner = text[position + 1 : end]
        return (substitute(_unescape(inner), known) if quote == '"' else inner), end + 1
    end = _line_end(text, position)
    value = text[position:end]
    if value.startswith("#"):
        return "", end
    comment = min((at for at in (value.find(" #"), value.find("\t#")) if at >= 0), default=-1)
    if comment >= 0:
        value = value[:comment]
    return substitute(value.rstrip(), known), end


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    found, position = [], 0
    while position < len(text):
        character = text[position]
        if character == "\\" and position + 1 < len(text):
            following = text[position + 1]
            found.append(ESCAPES.get(following, "\\" + following))
            position += 2
        else:
            found.append(character)
            position += 1
    return "".join(found)
