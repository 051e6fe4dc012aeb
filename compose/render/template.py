"""Output formats as Docker's tools take them: table, json, and simple Go templates (`{{.Name}} {{json .Labels}}`). Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from compose.render.table import table
from runtime.errors import SkiffError

Row = Mapping[str, Any]
ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")
FUNCTIONS: Mapping[str, Callable[[Any], str]] = {
    "json": lambda value: json.dumps(value),
    "upper": lambda value: str(value).upper(),
    "lower": lambda value: str(value).lower(),
    "println": lambda value: f"{value}\n",
}


def formatted(format: str, rows: Sequence[Row], columns: Sequence[tuple[str, str]], *, as_list: bool = False) -> str:
    """Return `rows` as `format` wants them: "" and "table" are a table of `columns` (title and key).

    "json" is a document a line, or one list of all with `as_list`. Raises SkiffError for a template that asks for what
    is not there or for more than fields, `json`, `upper`, `lower`.
    """
    if format in ("", "table"):
        return table([title for title, _ in columns], [[str(row[key]) for _, key in columns] for row in rows])
    if format == "json":
        return json.dumps(rows) if as_list else "\n".join(json.dumps(row) for row in rows)
    is_table = format.startswith("table ")
    template = (format[6:] if is_table else format).replace("\\t", "\t").replace("\\n", "\n")
    parts = list(_parse(template))
    lines = ["".join(_value(part, row) for part in parts) for row in rows]
    if not is_table:
        return "\n".join(lines)
    titles = {key: title for title, key in columns}
    head = "".join(part if isinstance(part, str) else titles.get(part[1], _title(part[1])) for part in parts)
    return table(head.split("\t"), [_cells(line, head.count("\t") + 1) for line in lines])


def _cells(line: str, number: int) -> list[str]:
    cells = line.split("\t")
    return [*cells, *[""] * (number - len(cells))][:number]


def _title(key: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", key).upper()


def _parse(template: str) -> Iterator[str | tuple[str, str]]:
    """Yield literal text, and (function, field) of each action; the field "" is the whole row."""
    at = 0
    for found in ACTION.finditer(template):
        if found.start() > at:
            yield template[at : found.start()]
        words = found[1].split()
        function, field = (words[0], words[1]) if len(words) == 2 else ("", words[0] if len(words) == 1 else "")
        if not field.startswith(".") or (function and function not in FUNCTIONS) or len(words) > 2:
            raise SkiffError(
                f"--format: {found[0]} is not understood",
                "fields are written {{.Name}}, functions are " + ", ".join(FUNCTIONS),
            )
        yield (function, field[1:])
        at = found.end()
    if at < len(template):
        yield template[at:]


def _value(part: str | tuple[str, str], row: Row) -> str:
    if isinstance(part, str):
        return part
    function, field = part
    value: Any = row
    for name in filter(None, field.split(".")):
        if not isinstance(value, Mapping) or name not in value:
            raise SkiffError(f"--format: there is no field {field!r}", f"fields: {', '.join(row)}")
        value = value[name]
    return FUNCTIONS[function](value) if function else str(value)
