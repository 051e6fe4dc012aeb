"""A project's files for another machine: files they refer to are packed under new names. Pure but for reading."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from compose.errors import ConfigError
from compose.loading.document import Path, YamlDocument, parse
from compose.loading.files import read
from compose.loading.paths import REMOTE_FILES
from compose.loading.template import substitute

INTERPOLATED = re.compile(r"\$[A-Za-z_{]")


class Packed(NamedTuple):
    """A Compose file as it is sent; `extended` and `env_files` are the files (absolute) that it names, by new name."""

    content: bytes
    extended: Mapping[str, str]
    env_files: Mapping[str, str]


def packed(file: str, folder: str, lookup: Callable[[str], str | None]) -> Packed:
    """Return the Compose file `file` with the files that it extends, and files of variables, under names of their own.

    Relative paths start at `folder`; all else stays as it was written. Raises ConfigError, also for a file that
    includes others of this machine.
    """
    data = read(file)
    extended: dict[str, str] = {}
    env_files: dict[str, str] = {}
    changes: list[tuple[int, int, str, str]] = []
    for document in parse(data, file):
        _refuse_includes(document)
        for path, text, suffix in _named_files(document):
            where = os.path.normpath(os.path.join(folder, substitute(text, lookup)))
            if text.startswith(REMOTE_FILES) or (suffix == ".yaml" and not os.path.exists(where)):
                continue
            name = hashlib.sha256(where.encode()).hexdigest() + suffix
            (extended if suffix == ".yaml" else env_files)[name] = where
            place = document.value_place(path)
            changes.append((place.line, place.column, text, name))
    return Packed(_changed(data.decode(), changes, file).encode(), extended, env_files)


def literal_variables(data: bytes, file: str) -> Iterator[tuple[str, str]]:
    """Yield service and `NAME=VALUE` for each variable whose value a Compose file holds itself.

    Values that are interpolated or missing are set by the user of the file, so they reveal nothing.
    """
    for document in parse(data, file):
        services = document.content.get("services") if isinstance(document.content, dict) else None
        for name, service in (services or {}).items():
            given = service.get("environment") if isinstance(service, dict) else None
            if isinstance(given, dict):
                given = [f"{key}={value}" for key, value in given.items() if value is not None]
            for entry in given if isinstance(given, list) else ():
                key, equals, value = str(entry).partition("=")
                if equals and not INTERPOLATED.search(value):
                    yield str(name), f"{key}={value}"


def _refuse_includes(document: YamlDocument) -> None:
    content = document.content if isinstance(document.content, dict) else {}
    for number, entry in enumerate(content.get("include") or ()):
        paths = entry.get("path") if isinstance(entry, dict) else entry
        for each in [paths] if isinstance(paths, str) else paths or ():
            if not str(each).startswith(REMOTE_FILES):
                line, column = document.value_place(("include", number))[1:]
                raise ConfigError(
                    f"can't publish a file that includes another of this machine: {each}",
                    document.file,
                    line,
                    column,
                    "publish what `skiff config` makes of it",
                )


def _named_files(document: YamlDocument) -> Iterator[tuple[Path, str, str]]:
    """Yield path, text and suffix of every name of a file that must be packed as well."""
    services = document.content.get("services") if isinstance(document.content, dict) else None
    for name, service in (services or {}).items():
        if not isinstance(service, dict):
            continue
        at = ("services", name)
        extends = service.get("extends")
        if isinstance(extends, dict) and isinstance(extends.get("file"), str):
            yield (*at, "extends", "file"), extends["file"], ".yaml"
        given = service.get("env_file")
        if isinstance(given, str):
            yield (*at, "env_file"), given, ".env"
        for number, entry in enumerate(given if isinstance(given, list) else ()):
            if isinstance(entry, str):
                yield (*at, "env_file", number), entry, ".env"
            elif isinstance(entry, dict) and isinstance(entry.get("path"), str):
                yield (*at, "env_file", number, "path"), entry["path"], ".env"


def _changed(text: str, changes: list[tuple[int, int, str, str]], file: str) -> str:
    """Return `text` with the scalars that begin at (line, column) replaced; raises ConfigError for one not found there."""
    lines = text.splitlines(keepends=True)
    for line, column, old, new in sorted(changes, reverse=True):
        written = lines[line - 1]
        begin = column - 1
        quote = written[begin] if written[begin] in "'\"" else ""
        if not written.startswith(f"{quote}{old}{quote}", begin):
            raise ConfigError(
                f"{old} is written in a way that can't be replaced", file, line, column, "write it plainly"
            )
        lines[line - 1] = written[:begin] + new + written[begin + len(old) + 2 * len(quote) :]
    return "".join(lines)
