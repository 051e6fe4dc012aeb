"""Variables in text: `$NAME`, `${NAME}`, and the operators `:-` `-` `:?` `?` `:+` `+`, nested. Pure.

DocumentSource: Compose Specification, "Interpolation". What the specification leaves open follows the reference: a dollar sign
before anything that begins neither a name nor a brace stands for itself, and what follows an operator ends in its line.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Lookup = Callable[[str], str | None]
MAXIMUM_DEPTH = 50
NAME = "[_a-zA-Z][_a-zA-Z0-9]*"
PATTERN = re.compile(
    rf"\$(?:(?P<escaped>\$)|(?P<named>{NAME})"
    rf"|\{{(?P<name>{NAME})(?:(?P<plain>\}})|(?P<operator>:?[-+?]))|(?P<invalid>\{{))"
)
BRACE = re.compile("[{}]")


class TemplateError(ValueError):
    """Raised for text that is no template, and for a required variable without a value."""


class Mention:
    """A variable as a text mentions it: with which operator and which argument, unexpanded."""

    __slots__ = ("argument", "name", "operator")

    def __init__(self, name: str, operator: str, argument: str) -> None:
        self.name, self.operator, self.argument = name, operator, argument


def substitute(text: str, lookup: Lookup, note: Callable[[Mention], None] | None = None, depth: int = 0) -> str:
    """Return `text` with its variables replaced; raises TemplateError.

    `lookup` returns a variable's value, None if it is not set; `note` is called for every variable in the text.
    """
    if "$" not in text:
        return text
    if depth > MAXIMUM_DEPTH:
        raise TemplateError(f"variables nested more than {MAXIMUM_DEPTH} levels deep")
    found: list[str] = []
    position = line_end = 0
    while match := PATTERN.search(text, position):
        found.append(text[position : match.start()])
        position = match.end()
        if match["escaped"]:
            found.append("$")
        elif match["named"] or match["plain"]:
            found.append(_value(Mention(match["named"] or match["name"], "", ""), lookup, note, depth))
        elif match["operator"]:
            if line_end <= position:
                line_end = text.find("\n", position)
                line_end = len(text) if line_end < 0 else line_end
            end = _closing(text, match.start() + 1, line_end)
            if end < position:
                raise TemplateError(_invalid(text, match.start()))
            mention = Mention(match["name"], match["operator"], text[position:end])
            found.append(_value(mention, lookup, note, depth))
            position = end + 1
        else:
            raise TemplateError(_invalid(text, match.start()))
    return "".join((*found, text[position:]))


def _closing(text: str, start: int, end: int) -> int:
    """Return the index of the brace that closes the one at `start`, the last before `end` where braces don't match.

    As in the reference, a brace right behind an opening one counts for nothing.
    """
    depth, position = 0, start
    while match := BRACE.search(text, position, end):
        position = match.end()
        if match[0] == "{":
            depth += 1
            position += 1
        else:
            depth -= 1
            if depth == 0:
                return match.start()
    return text.rfind("}", start, end)


def _invalid(text: str, at: int) -> str:
    shown = f'"{text}"' if len(text) < 80 else f'"{text[:77]}..."'
    rest = text[at + 2 :]
    if "}" not in rest.split("\n", 1)[0]:
        cure = "a closing brace is missing"
    elif not re.match("[_a-zA-Z]", rest):
        cure = "a variable's name is missing"
    else:
        cure = "after the name come :- - :? ? :+ or +"
    return f"invalid interpolation format in {shown}: {cure}; a literal dollar sign is written $$"


def _value(mention: Mention, lookup: Lookup, note: Callable[[Mention], None] | None, depth: int) -> str:
    if note is not None:
        note(mention)
    value = lookup(mention.name)
    operator = mention.operator
    if not operator:
        return value or ""
    # as in the reference, an argument that nobody needs must be a good template too
    argument = substitute(mention.argument, lookup, note, depth + 1)
    is_set = value is not None and (value != "" or operator[0] != ":")
    if operator[-1] == "+":
        return argument if is_set else value or ""
    if is_set:
        return value or ""
    if operator[-1] == "?":
        reason = f": {argument}" if argument else ""
        raise TemplateError(f"required variable {mention.name} is missing a value{reason}")
    return argument
