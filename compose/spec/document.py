"""YAML documents with the place of every value, read as the reference reads them (YAML 1.2 scalars, merge keys, tags)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from yaml import YAMLError
from yaml._yaml import CParser

from compose.errors import ConfigError
from compose.spec.model import Place

MAXIMUM_BYTES = 16 << 20
MAXIMUM_DEPTH = 100
MAXIMUM_EXPANSION = 400_000
"""Values that aliases may add to a document: enough for any honest file, too few to fill a memory."""

WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}

Path = tuple[str | int, ...]


class Node:
    """A value in a file: `value` is a dict of nodes by key, a list of nodes, or a scalar; `keys` has the keys' places."""

    __slots__ = ("column", "keys", "line", "tag", "value")

    def __init__(self, value: Any, line: int, column: int, tag: str = "") -> None:
        self.value, self.line, self.column, self.tag = value, line, column, tag
        self.keys: dict[str, tuple[int, int]] = {}


class Document:
    """One YAML document of a file: its plain `content`, and the paths tagged `!reset` and `!override` in it."""

    def __init__(self, file: str, root: Node) -> None:
        self.file, self.root = file, root
        self.replaced: list[Path] = []
        self._expanded = 0
        self.content = self._plain(root, ())

    def place(self, path: Path) -> tuple[int, Place]:
        """Return how many steps of `path` the document has, and the place of the last one."""
        node, steps = self.root, 0
        line, column = node.line, node.column
        for step in path:
            if isinstance(node.value, dict) and isinstance(step, str) and step in node.value:
                line, column = node.keys.get(step, (node.value[step].line, node.value[step].column))
                node = node.value[step]
            elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line, column = node.line, node.column
            else:
                break
            steps += 1
        return steps, Place(self.file, line, column)

    def value_place(self, path: Path) -> Place:
        """Return the place of the scalar at `path`; of a container, or of what there is of `path`, where it begins."""
        node = self.root
        for step in path:
            value = node.value
            if isinstance(value, dict) and step in value:
                node = value[str(step)]
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                node = value[step]
            else:
                return self.place(path)[1]
        if isinstance(node.value, dict | list):
            return self.place(path)[1]
        return Place(self.file, node.line, node.column)

    def _plain(self, node: Node, path: Path) -> Any:
        self._expanded += 1
        if self._expanded > MAXIMUM_EXPANSION:
            raise ConfigError("aliases make the document grow without bounds", self.file, node.line, node.column)
        value = node.value
        if isinstance(value, dict):
            plain = {}
            for key, child in value.items():
                if child.tag in ("!reset", "!override"):
                    self.replaced.append((*path, key))
                    if child.tag == "!reset":
                        continue
                plain[key] = self._plain(child, (*path, key))
            return plain
        if isinstance(value, list):
            return [self._plain(child, (*path, index)) for index, child in enumerate(value) if child.tag != "!reset"]
        return value


def parse(data: bytes, file: str) -> list[Document]:
    """Return the documents of `data`; raises ConfigError with the place of what is not YAML or not acceptable."""
    if len(data) > MAXIMUM_BYTES:
        raise ConfigError(f"the file has more than {MAXIMUM_BYTES >> 20} MiB", file, hint="is it a Compose file?")
    try:
        text = data.decode("utf-16") if data[:2] in (b"\xff\xfe", b"\xfe\xff") else data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("the file is not UTF-8 text", file, line, 1, "is it a Compose file?") from None
    try:
        return [Document(file, root) for root in _roots(text.removeprefix("\ufeff"), file)]
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise ConfigError(f"not valid YAML: {problem}", file, line, column) from None


def _roots(text: str, file: str) -> Iterator[Node]:
    parser = CParser(text)
    anchors: dict[str, Node] = {}
    open_nodes: list[Node] = []
    pending: list[Node | None] = []  # per open mapping: the key that waits for its value
    merges: dict[int, list[Node]] = {}
    unfinished: set[int] = set()
    while True:
        event: Any = parser.get_event()
        if event is None:
            return
        kind = event.__class__.__name__
        if kind == "DocumentStartEvent":
            anchors = {}
            continue
        if kind in ("StreamStartEvent", "StreamEndEvent", "DocumentEndEvent"):
            continue
        mark: Any = event.start_mark
        line, column = mark.line + 1, mark.column + 1
        if kind in ("MappingEndEvent", "SequenceEndEvent"):
            node = open_nodes.pop()
            pending.pop()
            unfinished.discard(id(node))
            for source in merges.pop(id(node), ()):
                _merge(node, source, file)
        else:
            if kind == "AliasEvent":
                if event.anchor not in anchors:
                    raise ConfigError(f'unknown anchor "{event.anchor}"', file, line, column)
                node = anchors[event.anchor]
                if id(node) in unfinished:
                    raise ConfigError(f'anchor "{event.anchor}" contains itself', file, line, column)
            elif kind == "ScalarEvent":
                node = Node(_scalar(event, file), line, column, event.tag or "")
            else:
                node = Node({} if kind == "MappingStartEvent" else [], line, column, event.tag or "")
            if kind != "AliasEvent" and event.anchor:
                anchors[event.anchor] = node
            if kind in ("MappingStartEvent", "SequenceStartEvent"):
                if len(open_nodes) >= MAXIMUM_DEPTH:
                    raise ConfigError(f"nested more than {MAXIMUM_DEPTH} levels deep", file, line, column)
                is_key = bool(open_nodes) and isinstance(open_nodes[-1].value, dict) and pending[-1] is None
                if is_key:
                    raise ConfigError("a key must be a string", file, line, column)
                open_nodes.append(node)
                pending.append(None)
                unfinished.add(id(node))
                continue
        if not open_nodes:
            yield node
            continue
        parent = open_nodes[-1]
        if isinstance(parent.value, list):
            parent.value.append(node)
        elif pending[-1] is None:
            if not isinstance(node.value, str):
                raise ConfigError(f"a key must be a string, not {_shown(node.value)}", file, line, column, "quote it")
            pending[-1] = Node(node.value, line, column)
        else:
            key, pending[-1] = pending[-1], None
            if key.value == "<<":
                merges.setdefault(id(parent), []).append(node)
                continue
            if key.value in parent.value:
                first = parent.keys[key.value][0]
                raise ConfigError(f'key "{key.value}" is in line {first} already', file, key.line, key.column)
            parent.value[key.value] = node
            parent.keys[key.value] = (key.line, key.column)


def _merge(target: Node, source: Node, file: str) -> None:
    """Add the keys of `source`, a mapping or a list of them, that `target` lacks (YAML, "Merge Key")."""
    for mapping in source.value if isinstance(source.value, list) else [source]:
        if not isinstance(mapping.value, dict):
            raise ConfigError('"<<" takes a mapping, or a list of mappings', file, source.line, source.column)
        for key, node in mapping.value.items():
            if key not in target.value:
                target.value[key] = node
                target.keys[key] = mapping.keys.get(key, (node.line, node.column))


def _scalar(event: Any, file: str) -> Any:
    text: str = event.value
    tag = event.tag
    if tag and tag.startswith("tag:yaml.org,2002:"):
        kind = tag[18:]
        if kind in ("str", "binary"):
            return text
        value = resolve(text)
        if kind == "float" and isinstance(value, int):
            return float(value)
        if kind == "null" or type(value).__name__ == kind:
            return None if kind == "null" else value
        mark = event.start_mark
        raise ConfigError(f'"{text}" is not of type !!{kind}', file, mark.line + 1, mark.column + 1)
    if tag and tag not in ("!reset", "!override"):
        return text
    return resolve(text) if event.implicit[0] or (tag and not event.style) else text


def resolve(text: str) -> Any:
    """Return the value that a plain scalar stands for (YAML 1.2 core schema, and 0b, 0777 and `_` as go-yaml has them)."""
    if text in WORDS:
        return WORDS[text]
    first = text[0]
    if first not in "0123456789+-.":
        return text
    digits = text.replace("_", "")
    body = digits.lstrip("+-") if digits[0] in "+-" else digits
    if len(digits) - len(body) > 1 or not body:
        return text
    sign = -1 if digits[0] == "-" else 1
    try:
        if body.isascii() and body.isdigit():
            if body[0] == "0" and len(body) > 1:
                return sign * int(body, 8) if not set(body) & set("89") else float(body)
            return sign * int(body) if -(1 << 63) <= sign * int(body) < 1 << 64 else float(digits)
        prefix = body[:2].lower()
        if prefix in ("0x", "0o", "0b"):
            return sign * int(body[2:], {"0x": 16, "0o": 8, "0b": 2}[prefix])
        if body[0] in "0123456789." and set(body) <= set("0123456789.eE+-"):
            return float(digits)
    except ValueError:
        return text
    return text


def _shown(value: Any) -> str:
    return (
        {None: "null", True: "true", False: "false"}.get(value, str(value))
        if not isinstance(value, list | dict)
        else ""
    )
