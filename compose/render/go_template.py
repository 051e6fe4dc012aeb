"""Go templates, as far as `--format` needs them (Go documentation, "text/template"; Docker, "Format command output"). Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compose.go_json import go_json
from runtime.errors import SkiffError

ACTION = re.compile(r"\{\{(-\s)?\s*(/\*.*?\*/|(?:\"(?:[^\"\\]|\\.)*\"|`[^`]*`|[^\"`])*?)\s*(\s-)?\}\}", re.DOTALL)
WORD = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|`[^`]*`|[()|]|[^\s()|"`]+)""")
BLOCKS = ("if", "range", "with")


@dataclass(frozen=True)
class Block:
    """`if`, `range` or `with`: its words, what is between it and its end, and what is behind `else`."""

    kind: str
    words: tuple[str, ...]
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


Node = str | tuple[str, ...] | Block
"""Text as it is; the words of an action; a block."""


def parse(template: str) -> tuple[Node, ...]:
    """Return the nodes of a template. Raises SkiffError for what is not understood."""
    pieces = list(_pieces(template))
    try:
        nodes, end, _ = _nodes(pieces, 0)
    except RecursionError:
        raise SkiffError("--format: the template is nested too deeply", "write a flatter one") from None
    if end:
        raise _not_understood(f"{{{{{end}}}}}")
    for piece in pieces:
        if isinstance(piece, str) and "{{" in piece:
            raise SkiffError(f"--format: {piece[piece.index('{{') :]} has no end", "close it: }}")
    return nodes


def _pieces(template: str) -> Iterator[str | tuple[str, ...]]:
    at, trims = 0, False
    for found in ACTION.finditer(template):
        text = template[at : found.start()]
        text = text.lstrip() if trims else text
        text = text.rstrip() if found[1] else text
        if text:
            yield text
        if not found[2].startswith("/*"):
            yield _words(found[2], found[0])
        at, trims = found.end(), bool(found[3])
    text = template[at:].lstrip() if trims else template[at:]
    if text:
        yield text


def _words(text: str, action: str) -> tuple[str, ...]:
    words: list[str] = []
    at = 0
    while at < len(text):
        found = WORD.match(text, at)
        if found is None:
            raise _not_understood(action)
        words.append(found[1])
        at = found.end()
    if not words:
        raise _not_understood(action)
    return tuple(words)


def _nodes(pieces: Sequence[str | tuple[str, ...]], at: int) -> tuple[tuple[Node, ...], str, int]:
    """Return nodes up to an `end` or `else` of a block around them, that word, and the place behind it."""
    found: list[Node] = []
    while at < len(pieces):
        piece = pieces[at]
        at += 1
        if isinstance(piece, str):
            found.append(piece)
        elif piece[0] in ("end", "else"):
            return tuple(found), " ".join(piece), at
        elif piece[0] in BLOCKS:
            block, at = _block(piece, pieces, at)
            found.append(block)
        else:
            found.append(piece)
    return tuple(found), "", at


def _block(words: tuple[str, ...], pieces: Sequence[str | tuple[str, ...]], at: int) -> tuple[Block, int]:
    if len(words) < 2:
        raise _not_understood(f"{{{{{words[0]}}}}}")
    body, end, at = _nodes(pieces, at)
    otherwise: tuple[Node, ...] = ()
    if end.startswith("else if "):
        inner, at = _block(tuple(_words(end[5:], end)), pieces, at)
        return Block(words[0], words[1:], body, (inner,)), at
    if end == "else":
        otherwise, end, at = _nodes(pieces, at)
    if end != "end":
        raise SkiffError(f"--format: {{{{{' '.join(words)}}}}} has no end", "close it: {{end}}")
    return Block(words[0], words[1:], body, otherwise), at


def _not_understood(action: str) -> SkiffError:
    return SkiffError(
        f"--format: {action} is not understood",
        "fields are written {{.Name}}, functions are " + ", ".join(FUNCTIONS),
    )


def filled(nodes: Sequence[Node], row: Any) -> str:
    """Return the template's text for `row`. Raises SkiffError for a field that is not there, and for misused functions."""
    return "".join(_text(node, row, row) for node in nodes)


def _text(node: Node, dot: Any, row: Any) -> str:
    if isinstance(node, str):
        return node
    if not isinstance(node, Block):
        return shown(_pipeline(node, dot, row))
    value = _pipeline(node.words, dot, row)
    if not value:
        return "".join(_text(each, dot, row) for each in node.otherwise)
    if node.kind == "range":
        items = list(value.values()) if isinstance(value, Mapping) else value
        if not isinstance(items, list | tuple):
            raise SkiffError(f"--format: {' '.join(node.words)} is no list to range over", "use it as {{.}} is")
        return "".join(_text(each, item, row) for item in items for each in node.body)
    inner = value if node.kind == "with" else dot
    return "".join(_text(each, inner, row) for each in node.body)


def shown(value: Any) -> str:
    """Return a value as Go prints it."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return f"map[{' '.join(f'{key}:{shown(value[key])}' for key in sorted(value))}]"
    if isinstance(value, list | tuple):
        return f"[{' '.join(map(shown, value))}]"
    return str(value)


def _pipeline(words: Sequence[str], dot: Any, row: Any) -> Any:
    """Return the value of commands that are joined by `|`: each is given the value of the one before."""
    given: list[Any] = []
    for command in _split(words):
        given = [_command(command, given, dot, row)]
    return given[0]


def _split(words: Sequence[str]) -> Iterator[list[str]]:
    command: list[str] = []
    depth = 0
    for word in words:
        depth += (word == "(") - (word == ")")
        if word == "|" and not depth:
            yield command
            command = []
        else:
            command.append(word)
    yield command


def _command(words: Sequence[str], given: list[Any], dot: Any, row: Any) -> Any:
    if not words:
        raise _not_understood("a command that is missing")
    if words[0] in FUNCTIONS:
        arguments = [*_operands(words[1:], dot, row), *given]
        try:
            return FUNCTIONS[words[0]](*arguments)
        except (TypeError, ValueError, KeyError, IndexError, OverflowError, RecursionError) as error:
            raise SkiffError(f"--format: {' '.join(words)}: {error}", "look at what the function takes") from error
    if words[0] == ".Label" and isinstance(dot, Mapping):
        (name,) = [*_operands(words[1:], dot, row), *given] or [""]
        return _label(dot, name)
    operands = list(_operands(words, dot, row))
    if len(operands) != 1 or given:
        raise _not_understood(f"{{{{{' '.join(words)}}}}}")
    return operands[0]


def _label(row: Mapping[str, Any], name: Any) -> str:
    labels = row.get("Labels")
    if isinstance(labels, str):
        labels = dict(entry.partition("=")[::2] for entry in labels.split(","))
    return str((labels or {}).get(name, ""))


def _operands(words: Sequence[str], dot: Any, row: Any) -> Iterator[Any]:
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "(":
            depth, begin = 1, at
            while at < len(words) and depth:
                depth += (words[at] == "(") - (words[at] == ")")
                at += 1
            if depth:
                raise _not_understood(f"({' '.join(words[begin:])}")
            value = _pipeline(words[begin : at - 1], dot, row)
            if at < len(words) and words[at].startswith("."):
                value, at = _field(value, words[at]), at + 1
            yield value
        else:
            yield _operand(word, dot, row)


def _operand(word: str, dot: Any, row: Any) -> Any:
    if word.startswith("."):
        return _field(dot, word)
    if word == "$" or word.startswith("$."):
        return _field(row, word[1:] or ".")
    if word.startswith("`"):
        return word[1:-1]
    if word in ("true", "false", "nil"):
        return {"true": True, "false": False, "nil": None}[word]
    try:
        return json.loads(word)
    except ValueError:
        raise _not_understood(f"{{{{{word}}}}}") from None


def _field(value: Any, path: str) -> Any:
    names = path[1:].split(".") if path != "." else []
    for name in names:
        if not isinstance(value, Mapping) or name not in value:
            known = f"fields: {', '.join(map(str, value))}" if isinstance(value, Mapping) else "it is no object"
            raise SkiffError(f"--format: there is no field {path[1:]!r}", known)
        value = value[name]
    return value


def _printf(text: str, *values: Any) -> str:
    verbs = re.sub(r"%([-+ 0#]*\d*(?:\.\d+)?)[vqT]", lambda found: f"%{found[1]}s", text)
    found = re.findall(r"%[-+ 0#]*\d*(?:\.\d+)?([a-zA-Z%])", verbs)
    kinds = [kind for kind in found if kind != "%"]
    return verbs % tuple(shown(value) if kind == "s" else value for kind, value in zip(kinds, values, strict=True))


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else value[key]
    return value


def _pad(value: Any, before: int, after: int) -> str:
    return " " * min(before, 1000) + shown(value) + " " * min(after, 1000)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "json": go_json,
    "upper": lambda value: shown(value).upper(),
    "lower": lambda value: shown(value).lower(),
    "title": lambda value: shown(value).title(),
    "println": lambda *values: " ".join(map(shown, values)) + "\n",
    "print": lambda *values: "".join(map(shown, values)),
    "printf": _printf,
    "join": lambda values, separator: separator.join(map(shown, values)),
    "split": lambda text, separator: text.split(separator),
    "truncate": lambda text, length: shown(text)[:length],
    "pad": _pad,
    "len": lambda value: len(value),
    "index": _index,
    "eq": lambda value, *others: any(value == other for other in others),
    "ne": lambda value, other: value != other,
    "lt": lambda value, other: value < other,
    "le": lambda value, other: value <= other,
    "gt": lambda value, other: value > other,
    "ge": lambda value, other: value >= other,
    "and": lambda *values: next((value for value in values if not value), values[-1]),
    "or": lambda *values: next((value for value in values if value), values[-1]),
    "not": lambda value: not value,
}
