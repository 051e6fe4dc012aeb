"""How what a container was made of differs from what it would be made of now, in the words of the files. Pure."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compose.plan.sensitive import findings

SHOWN, SHOWN_CHARACTERS = 3, 40
"""How many differences one reason names, and how much of a value."""
_SECRET = re.compile(r"pass(?:wor[dt]|phrase|wd)?|secret|token|credential|private|api_?key|access_?key", re.IGNORECASE)
"""Names of variables whose values are not shown."""


def reason(differences: Sequence[str]) -> str:
    """Return one line that names the first differences, and how many more there are."""
    more = len(differences) - SHOWN
    return ", ".join(differences[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def differences(old: Mapping[str, Any], new: Mapping[str, Any], folder: str = "") -> list[str]:
    """Return what differs between two services of the canonical model, in the order of their attributes.

    Paths below `folder` are shown relative to it; values of what looks like a secret are not shown.
    """
    return list(_Words(folder).mapping("", old, new))


class _Words:
    def __init__(self, folder: str) -> None:
        self._folder = folder

    def mapping(self, path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
        for key in dict.fromkeys((*old, *new)):
            one, other = old.get(key), new.get(key)
            if one != other:
                yield from self._value(f"{path}.{key}" if path else str(key), one, other)

    def _value(self, path: str, old: Any, new: Any) -> Iterator[str]:
        if isinstance(old, Mapping | None) and isinstance(new, Mapping | None) and path.count(".") < 3:
            if old and new:
                yield from self.mapping(path, old, new)
            elif old and path.count("."):
                yield f"{path} removed"
            elif new and path.count("."):
                yield f"{path} added"
            else:
                yield from self._all_of(path, old or {}, new or {})
        elif path in ("command", "entrypoint"):
            yield f"{path} {self._command(old)} → {self._command(new)}"
        elif isinstance(old, list | None) and isinstance(new, list | None):
            yield from self._lists(path, old or [], new or [])
        elif _is_secret(path, old, new):
            yield f"{path} changed"
        elif old is None:
            yield f"{path} set to {self._text(new)}"
        elif new is None:
            yield f"{path} removed"
        else:
            yield f"{path} {self._text(old)} → {self._text(new)}"

    def _all_of(self, path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
        """Yield each member of a mapping of names that came or went as a whole (`environment`, `networks`)."""
        if path in ("environment", "labels", "networks", "sysctls"):
            yield from self.mapping(path, old, new)
        elif old or new:
            yield f"{path} {'removed' if old else 'added'}"

    def _lists(self, path: str, old: list[Any], new: list[Any]) -> Iterator[str]:
        gone = [self._entry(path, each) for each in old if each not in new]
        come = [self._entry(path, each) for each in new if each not in old]
        if not gone and not come:
            yield f"{path} in another order"
        elif len(gone) == len(come):
            yield from (f"{path} {one} → {other}" for one, other in zip(gone, come, strict=True))
        else:
            yield from (f"{path} {entry} removed" for entry in gone)
            yield from (f"{path} {entry} added" for entry in come)

    def _entry(self, path: str, entry: Any) -> str:
        """Return an entry of a list in its short form, where it has one."""
        if not isinstance(entry, Mapping):
            return self._text(entry)
        if path == "ports":
            host = ":".join(str(entry[key]) for key in ("host_ip", "published") if entry.get(key))
            protocol = entry.get("protocol") or "tcp"
            return f"{host}{':' if host else ''}{entry.get('target')}" + (f"/{protocol}" if protocol != "tcp" else "")
        source, target = self._path(entry.get("source") or entry.get("path") or ""), entry.get("target") or ""
        if not source and not target:
            return self._text(entry)
        return ":".join(part for part in (source, target, "ro" if entry.get("read_only") else "") if part)

    def _command(self, value: Any) -> str:
        if value is None:
            return "the image's"
        return _short(shlex.join(map(str, value)) if isinstance(value, list) else str(value))

    def _text(self, value: Any) -> str:
        if isinstance(value, str):
            return _short(self._path(value)) if value else '""'
        return _short(json.dumps(value, ensure_ascii=False))

    def _path(self, path: str) -> str:
        return relative(path, self._folder)


def relative(path: str, folder: str) -> str:
    """Return `path` as a file in `folder` would write it ("./nginx.conf"); as it is outside of it."""
    if folder and path.startswith(folder.rstrip("/") + "/"):
        return "./" + os.path.relpath(path, folder)
    return path


def _is_secret(path: str, *values: Any) -> bool:
    name = path.rpartition(".")[2]
    return bool(_SECRET.search(name)) or any(isinstance(each, str) and any(findings(each)) for each in values)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
