"""YAML documents with the place of every value, read as the reference reads them (YAML 1.2 scalars, merge keys, tags)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from yaml import YAMLError
from yaml._yaml import CParser

from compose.errors import ConfigError
from compose.loading.model import SourceLocation
from compose.loading.scalars import Timestamp, resolve, tagged

MAXIMUM_BYTES = 16 << 20
MAXIMUM_EVENTS = 200_000
"""Keys, values and ends of lists and mappings in a file: enough for some thousand services."""
MAXIMUM_DEPTH = 100
MAXIMUM_EXPANSION = 200_000
"""Values that aliases may add to a document: enough for any honest file, too few to fill a memory."""

TAGS = "tag:yaml.org,2002:"
MERGE = f"{TAGS}merge"

Path = tuple[str | int, ...]


class YamlNode:
    """A value in a file: `value` is a dict of nodes by key, a list of nodes, or a scalar; a dict's `keys` have places."""

    __slots__ = ("column", "keys", "line", "tag", "value")

    keys: dict[str, tuple[int, int]]

    def __init__(self, value: Any, line: int, column: int, tag: str = "") -> None:
        self.value, self.line, self.column, self.tag = value, line, column, tag
        if isinstance(value, dict):
            self.keys = {}


class YamlDocument:
    """One YAML document of a file: its plain `content`, and the paths tagged `!reset` and `!override` in it."""

    def __init__(self, file: str, root: YamlNode) -> None:
        self.file, self.root = file, root
        self.replaced: list[Path] = []
        self._expanded = 0
        self.content = self._plain(root, ())

    def place(self, path: Path) -> tuple[int, SourceLocation]:
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
        return steps, SourceLocation(self.file, line, column)

    def value_place(self, path: Path) -> SourceLocation:
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
        return SourceLocation(self.file, node.line, node.column)

    def _plain(self, node: YamlNode, path: Path) -> Any:
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
        if isinstance(value, Timestamp) and any(str(step).startswith("x-") for step in path):
            return value.rfc3339  # extensions hold what they like, as long as JSON has it
        return value


def parse(data: bytes, file: str) -> list[YamlDocument]:
    """Return the documents of `data`; raises ConfigError with the place of what is not YAML or not acceptable."""
    if len(data) > MAXIMUM_BYTES:
        raise ConfigError(f"the file has more than {MAXIMUM_BYTES >> 20} MiB", file, hint="is it a Compose file?")
    try:
        text = data.decode("utf-16") if data[:2] in (b"\xff\xfe", b"\xfe\xff") else data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("the file is not UTF-8 text", file, line, 1, "is it a Compose file?") from None
    text = text.removeprefix("\ufeff")
    try:
        return [YamlDocument(file, root) for root in _roots(text, file)]
    except YAMLError as error:
        raise _syntax_error(error, text, file) from None


def _syntax_error(error: YAMLError, text: str, file: str) -> ConfigError:
    """Return what is wrong in the words of who wrote the file, at the place where it has to be mended."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    opened = getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    context = getattr(error, "context", None) or ""
    lines = text.split("\n")

    def character(at: Any) -> str:
        return lines[at.line][at.column : at.column + 1] if at is not None and at.line < len(lines) else ""

    found, hint = character(mark), None
    if "tab character" in problem or found == "\t":
        problem, hint = "a tab is where YAML wants spaces", "indent with spaces"
    elif "quoted scalar" in context and "unexpected end" in problem:
        mark, problem = opened, f"the quote {character(opened)} is not closed"
    elif context.startswith("while parsing a flow") and opened is not None:
        bracket = character(opened)
        problem = f"the {bracket} of line {opened.line + 1}, column {opened.column + 1} is not closed: {problem}"
    elif "cannot start any token" in problem and found:
        problem, hint = f"{found} cannot begin a value", "put the value in quotes"
    elif "mapping values are not allowed" in problem:
        hint = "put a value that has a colon and a blank in quotes; a key is indented as its neighbours are"
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    return ConfigError(f"not valid YAML: {problem}", file, line, column, hint)


def _roots(text: str, file: str) -> Iterator[YamlNode]:
    parser = CParser(text)
    anchors: dict[str, YamlNode] = {}
    open_nodes: list[YamlNode] = []
    pending: list[YamlNode | None] = []  # per open mapping: the key that waits for its value
    merges: dict[int, YamlNode] = {}
    unfinished: set[int] = set()
    count = 0
    while True:
        event: Any = parser.get_event()
        if event is None:
            return
        kind = event.__class__.__name__
        count += 1
        if kind == "DocumentStartEvent":
            anchors = {}
            continue
        if kind in ("StreamStartEvent", "StreamEndEvent", "DocumentEndEvent"):
            continue
        mark: Any = event.start_mark
        line, column = mark.line + 1, mark.column + 1
        if count > MAXIMUM_EVENTS:
            raise ConfigError("the file has more values than a Compose file needs", file, line, column)
        if kind in ("MappingEndEvent", "SequenceEndEvent"):
            node = open_nodes.pop()
            pending.pop()
            unfinished.discard(id(node))
            if id(node) in merges:
                _merge(node, merges.pop(id(node)), file)
        else:
            if kind == "AliasEvent":
                if event.anchor not in anchors:
                    raise ConfigError(f'unknown anchor "{event.anchor}"', file, line, column)
                node = anchors[event.anchor]
                if id(node) in unfinished:
                    raise ConfigError(f'anchor "{event.anchor}" contains itself', file, line, column)
            elif kind == "ScalarEvent":
                node = YamlNode(_scalar(event, file), line, column, event.tag or "")
            else:
                node = YamlNode({} if kind == "MappingStartEvent" else [], line, column, event.tag or "")
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
            is_merge = node.value == "<<" and kind == "ScalarEvent" and event.implicit[0]
            pending[-1] = YamlNode(node.value, line, column, MERGE if is_merge else "")
        else:
            key, pending[-1] = pending[-1], None
            if key.tag == MERGE:
                if id(parent) in merges:
                    raise ConfigError('the key "<<" is there already', file, key.line, key.column, "give it a list")
                merges[id(parent)] = node
                continue
            if key.value in parent.value:
                first = parent.keys[key.value][0]
                raise ConfigError(f'key "{key.value}" is in line {first} already', file, key.line, key.column)
            parent.value[key.value] = node
            parent.keys[key.value] = (key.line, key.column)


def _merge(target: YamlNode, source: YamlNode, file: str) -> None:
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
    tag = event.tag or ""
    if not tag.startswith(TAGS):
        # of a tag that YAML does not know, or `!override`, the reference takes the text as it stands
        return resolve(text) if event.implicit[0] and not tag else text
    kind, mark = tag[len(TAGS) :], event.start_mark
    try:
        return tagged(kind, text)
    except ValueError:
        raise ConfigError(f'"{text}" is not of type !!{kind}', file, mark.line + 1, mark.column + 1) from None


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else "" if isinstance(value, list | dict) else str(value)
