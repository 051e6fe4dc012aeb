"""Output formats as Docker's tools take them: table, json, and Go templates (`{{.Name}} {{json .Labels}}`). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from compose.go_json import go_json
from compose.render.table import table

Row = Mapping[str, Any]


def formatted(format: str, rows: Sequence[Row], columns: Sequence[tuple[str, str]], *, as_list: bool = False) -> str:
    """Return `rows` in the given `format`: "" and "table" are a table of `columns` (title and key).

    "json" is a document a line, or one list of all with `as_list`. Raises SkiffError for a template that asks for what
    is not there.
    """
    if format in ("", "table"):
        return table([title for title, _ in columns], [[str(row[key]) for _, key in columns] for row in rows])
    if format == "json":
        return go_json(list(rows)) if as_list else "\n".join(map(go_json, rows))
    from compose.render.go_template import Block, filled, parse

    is_table = format.startswith("table ")
    template = (format[6:] if is_table else format).replace("\\t", "\t").replace("\\n", "\n")
    nodes = parse(template)
    lines = [filled(nodes, row) for row in rows]
    if not is_table:
        return "\n".join(lines)
    titles = {key: title for title, key in columns}
    head = "".join(
        node if isinstance(node, str) else _heading(node.words if isinstance(node, Block) else node, titles)
        for node in nodes
    )
    return table(head.split("\t"), [_cells(line, head.count("\t") + 1) for line in lines])


def _cells(line: str, number: int) -> list[str]:
    cells = line.split("\t")
    return [*cells, *[""] * (number - len(cells))][:number]


def _heading(words: Sequence[str], titles: Mapping[str, str]) -> str:
    """Return what stands above the values of an action or a block of `words`: the title of the first field in it."""
    fields = [word for word in words if word.startswith(".") and word != ".Label"]
    literals = [word[1:-1] for word in words if word.startswith(('"', "`"))]
    key = fields[0][1:] if fields else literals[0] if literals else ""
    return titles.get(key, _title(key))


def _title(key: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", key).upper()
