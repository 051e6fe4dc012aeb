"""Variables in text: `$NAME`, `${NAME}`, and the operators `:-` `-` `:?` `?` `:+` `+`, nested. Pure.

Source: Compose Specification, "Interpolation".
"""

from __future__ import annotations

from collections.abc import Callable

Lookup = Callable[[str], str | None]
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
NAME = LETTERS | frozenset("0123456789")
MAXIMUM_DEPTH = 50


class TemplateError(ValueError):
    """Text that is no template, or a required variable without a value."""


class Mention:
    """A variable as a text mentions it: with which operator and which argument, unexpanded."""

    __slots__ = ("argument", "name", "operator")

    def __init__(self, name: str, operator: str, argument: str) -> None:
        self.name, self.operator, self.argument = name, operator, argument


def substitute(text: str, lookup: Lookup, note: Callable[[Mention], None] | None = None, depth: int = 0) -> str:
    """Return `text` with its variables replaced; raises TemplateError.

    `lookup` gives a variable's value, None where it is not set; `note` is told of every variable that counts.
    """
    if "$" not in text:
        return text
    if depth > MAXIMUM_DEPTH:
        raise TemplateError(f"variables nested more than {MAXIMUM_DEPTH} levels deep")
    found, position = [], 0
    while True:
        dollar = text.find("$", position)
        if dollar < 0:
            found.append(text[position:])
            return "".join(found)
        found.append(text[position:dollar])
        following = text[dollar + 1 : dollar + 2]
        if following == "$":
            found.append("$")
            position = dollar + 2
        elif following == "{":
            end = _closing(text, dollar + 2)
            mention = _braced(text[dollar + 2 : end], text[dollar : end + 1])
            found.append(_value(mention, lookup, note, depth))
            position = end + 1
        elif following in LETTERS and following:
            position = dollar + 1
            while position < len(text) and text[position] in NAME:
                position += 1
            found.append(_value(Mention(text[dollar + 1 : position], "", ""), lookup, note, depth))
        else:
            raise TemplateError(f"invalid interpolation format in {_shown(text)}: a literal dollar sign is written $$")


def _shown(text: str) -> str:
    return f'"{text}"' if len(text) < 80 else f'"{text[:77]}..."'


def _closing(text: str, start: int) -> int:
    depth, position = 1, start
    while position < len(text):
        if text.startswith("${", position):
            depth += 1
            position += 2
            continue
        if text[position] == "}":
            depth -= 1
            if depth == 0:
                return position
        position += 1
    raise TemplateError(f"invalid interpolation format in {_shown(text)}: a closing brace is missing")


def _braced(inner: str, whole: str) -> Mention:
    length = 0
    while length < len(inner) and inner[length] in NAME:
        length += 1
    name, rest = inner[:length], inner[length:]
    if not name or name[0] not in LETTERS:
        raise TemplateError(f"invalid interpolation format in {_shown(whole)}: a variable's name is missing")
    if not rest:
        return Mention(name, "", "")
    operator = rest[:2] if rest[0] == ":" else rest[:1]
    if operator.lstrip(":") not in ("-", "?", "+") or not operator.lstrip(":"):
        raise TemplateError(f"invalid interpolation format in {_shown(whole)}: after the name come :- - :? ? :+ or +")
    return Mention(name, operator, rest[len(operator) :])


def _value(mention: Mention, lookup: Lookup, note: Callable[[Mention], None] | None, depth: int) -> str:
    if note is not None:
        note(mention)
    value = lookup(mention.name)
    operator = mention.operator
    is_set = value is not None and (value != "" or operator[:1] != ":")
    if operator[-1:] == "+":
        return substitute(mention.argument, lookup, note, depth + 1) if is_set else ""
    if is_set or not operator:
        return value or ""
    argument = substitute(mention.argument, lookup, note, depth + 1)
    if operator[-1] == "?":
        reason = f": {argument}" if argument else ""
        raise TemplateError(f"required variable {mention.name} is missing a value{reason}")
    return argument
