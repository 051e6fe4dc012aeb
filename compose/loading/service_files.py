"""Files of single services: `env_file` and `label_file`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from compose.errors import ConfigError
from compose.loading import dotenv
from compose.loading.document import Path
from compose.loading.files import Environment, read_text, shown
from compose.loading.merging import Model
from compose.loading.model import SourceLocation
from compose.loading.problems import Problems
from compose.loading.sources import Provenance


class ServiceFiles:
    """Reads the files that services name; what is wrong goes to `problems`, where each value stands to `sources`."""

    def __init__(self, problems: Problems, sources: Provenance, environment: Environment, folder: str) -> None:
        self._problems, self._sources, self._environment, self._folder = problems, sources, environment, folder

    def read(self, services: Mapping[str, Model], *, environment: bool = True, keep_label_files: bool = False) -> None:
        """Add, in place, each file's variables and labels to the service, whose own ones override them.

        Without `environment`, the files of variables stay files, as they do in the reference's config hashes. With
        `keep_label_files`, the names of those of labels stay next to the labels, as in its hashes of containers.
        """
        for name, service in services.items():
            at = ("services", name)
            found: dict[str, str] = {}
            own = service.get("environment") or {}
            for index, entry in enumerate((environment and service.pop("env_file", None)) or ()):
                self._variables(entry, found, own, at, (*at, "env_file", index))
            if found:
                service["environment"] = {**found, **(service.get("environment") or {})}
            labels: dict[str, str] = {}
            for index, path in enumerate(service.get("label_file") or ()):
                self._labels(path, labels, at, (*at, "label_file", index))
            if not keep_label_files:
                service.pop("label_file", None)
            if labels:
                service["labels"] = {**labels, **_as_mapping(service.get("labels"))}

    def _variables(
        self, entry: Model, found: dict[str, str], own: Mapping[str, str | None], at: Path, place: Path
    ) -> None:
        def known(name: str) -> str | None:
            value = self._environment.lookup(name)
            return own.get(name) if value is None else value

        path = entry["path"]
        if not os.path.exists(path):
            if entry.get("required", True) not in (False, "false"):
                hint = "make it, or set required: false"
                self._problems(f"env file {shown(path, self._folder)} not found\n    {hint}", place)
            return
        name = shown(path, self._folder)
        try:
            text = read_text(path, name)
            if entry.get("format") == "raw":
                self._take(dotenv.parse_raw(text, name, known), {}, name, found, (*at, "environment"))
                return
            if entry.get("format"):
                raise ConfigError(f'format "{entry["format"]}" is not known', hint="leave it out, or write raw")
            lines: dict[str, int] = {}
            parsed = dotenv.parse(text, name, known, lines, found)
            self._take(parsed, lines, name, found, (*at, "environment"))
        except ConfigError as error:
            self._add(error, place)

    def _labels(self, path: str, labels: dict[str, str], at: Path, place: Path) -> None:
        name = shown(path, self._folder)
        if not os.path.exists(path):
            self._problems(f"label file {name} not found\n    make it, or take it out", place)
            return
        try:
            lines: dict[str, int] = {}
            self._take(
                dotenv.parse(read_text(path, name), name, labels.get, lines), lines, name, labels, (*at, "labels")
            )
        except ConfigError as error:
            self._add(error, place)

    def _take(
        self, parsed: Mapping[str, str], lines: Mapping[str, int], name: str, found: dict[str, str], at: Path
    ) -> None:
        for key, value in parsed.items():
            found[key] = value
            self._sources.others[(*at, key)] = SourceLocation(name, lines.get(key, 1), 1)

    def _add(self, error: ConfigError, place: Path) -> None:
        """Note an error of such a file: at its own line, or where the Compose file names it."""
        if error.line:
            self._problems.add(error, place)
        else:
            self._problems(error.problem + (f"\n    {error.hint}" if error.hint else ""), place)


def _as_mapping(labels: Any) -> Mapping[str, Any]:
    if isinstance(labels, list):
        return {key: value for key, _, value in (str(each).partition("=") for each in labels)}
    return labels or {}
