"""Variables in text: `$NAME`, `${NAME}`, and the operators `:-` `-` `:?` `?` `:+` `+`, nested. Pure.

Source: Compose Specification, "Interpolation". What the specification leaves open follows the reference: a dollar sign
before anything that begins neither a name nor a brace stands for itself, and what follows an operator ends in its line.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Lookup = Callable[[str], str | None]
MAXIMUM_DEPTH = 50
PATTERN = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<named>[_a-zA-Z][_a-zA-Z0-9]*)"
    r"|\{(?:(?P<name>[_a-zA-Z][_a-zA-Z0-9]*)(?:(?P<operator>:?[-+?])(?P<argument>.*))?\}|(?P<invalid>)))"
)


class TemplateError(ValueError):
    """Text that is no template, or a required variable without a value."""


class Mention:
    """A variable as a text mentions it: with which operator and which argument, unexpanded."""

    __slots__ = ("argument", "name", "operator")

    def __init__(self, name: str, operator: str, argument: str) -> None:
        self.name, self.operator, self.argument = name, operator, argument


def substitute(text: str, lookup: Lookup, note: Callable[[Mention], None] | None = None, depth: int = 0) -> str:
    """Return `text` with its variables replaced; raises TemplateError.

    `lookup` gives a variable's value, None where it is not set; `note` is told of every variable that is mentioned.
    """
    if "$" not in text:
        return text
    if depth > MAXIMUM_DEPTH:
        raise TemplateError(f"variables nested more than {MAXIMUM_DEPTH} levels deep")

    def replaced(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        if match["named"]:
            return _value(Mention(match["named"], "", ""), lookup, note, depth)
        if match["name"] is None:
            raise TemplateError(_invalid(text, match.start()))
        if not match["operator"]:
            return _value(Mention(match["name"], "", ""), lookup, note, depth)
        # the argument reaches to the last brace of the line; the brace that closes the first one ends the variable
        whole = match[0]
        end = _closing(whole)
        argument = whole[match.start("argument") - match.start() : end]
        value = _value(Mention(match["name"], match["operator"], argument), lookup, note, depth)
        return value + substitute(whole[end + 1 :], lookup, note, depth + 1)

    return PATTERN.sub(replaced, text)


def _closing(whole: str) -> int:
    """Return the index of the brace that closes the first; a brace right after an opening one counts for nothing."""
    depth, position = 0, 0
    while position < len(whole):
        if whole[position] == "}":
            depth -= 1
            if depth == 0:
                return position
        elif whole[position] == "{":
            depth += 1
            position += 1
        position += 1
    return len(whole) - 1


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
