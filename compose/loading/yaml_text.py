"""YAML as `config` prints it: block style, two blanks a level, quoted where a reader could take it for something else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

OLD_BOOLEANS = frozenset("y Y yes Yes YES on On ON n N no No NO off Off OFF".split())
NUMBER_LIKE = re.compile(r"[-+]?[0-9.][0-9_]*(?::[0-5]?[0-9])*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?|0[xob][0-9a-fA-F_]+")
DATE_LIKE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*")
WORDS = frozenset(
    "~ null Null NULL true True TRUE false False FALSE .inf .Inf .INF +.inf +.Inf +.INF -.inf -.Inf -.INF "
    ".nan .NaN .NAN << =".split()
)
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


def yaml_text(value: Any) -> str:
    """Return a JSON-like value as a YAML document: reading it gives the value back."""
    if isinstance(value, dict | list) and value:
        return "\n".join(_lines(value, "")) + "\n"
    return _scalar(value, "") + "\n"


def _lines(value: Any, indent: str) -> Iterator[str]:
    """Yield the lines of a mapping or list that is not empty."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _entry(f"{indent}{_scalar(key, indent)}:", child, indent + "  ")
        return
    for child in value:
        if isinstance(child, dict | list) and child:
            first, *rest = _lines(child, indent + "  ")
            yield f"{indent}- {first[len(indent) + 2 :]}"
            yield from rest
        else:
            yield f"{indent}- {_scalar(child, indent + '  ')}"


def _entry(head: str, child: Any, indent: str) -> Iterator[str]:
    if isinstance(child, dict | list) and child:
        yield head
        yield from _lines(child, indent)
    else:
        yield f"{head} {_scalar(child, indent)}"


def _scalar(value: Any, indent: str) -> str:
    if isinstance(value, str):
        return _string(value, indent)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(str(value), repr(value))
    return "{}" if isinstance(value, dict) else "[]" if isinstance(value, list) else str(value)


def _string(text: str, indent: str) -> str:
    if "\n" in text and indent and _fits_block(text):
        ending = "-" if not text.endswith("\n") else "+" if text.endswith("\n\n") or text == "\n" else ""
        lines = (text if ending == "-" else text[:-1]).split("\n")
        return f"|{ending}\n" + "\n".join(f"{indent}{line}" if line else "" for line in lines)
    if CONTROL.search(text) or _reads_as_other(text):
        quoted = json.dumps(text, ensure_ascii=False)
        return CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)
    if _is_plain(text):
        return text
    return "'" + text.replace("'", "''") + "'"


def _reads_as_other(text: str) -> bool:
    """Return whether an unquoted `text` would not be a string, now or in YAML 1.1."""
    return (
        not text
        or text in WORDS
        or text in OLD_BOOLEANS
        or NUMBER_LIKE.fullmatch(text) is not None
        or DATE_LIKE.fullmatch(text) is not None
    )


def _is_plain(text: str) -> bool:
    """Return whether `text` may stand unquoted (YAML 1.2, "Plain Style")."""
    first, following = text[0], text[1:2]
    if first in ",[]{}#&*!|>'\"%@`" or (first in "-?:" and following in ("", " ")):
        return False
    if text[:3] in ("---", "...") or text != text.strip(" "):
        return False
    return ": " not in text and " #" not in text and text[-1] != ":"


def _fits_block(text: str) -> bool:
    lines = text.split("\n")
    if lines[0][:1] in ("", " ") or any(CONTROL.search(line) or line.strip(" ") == "" != line for line in lines):
        return False
    return not any(line.endswith(" ") for line in lines)
