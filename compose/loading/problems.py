"""Problems of a project's files: collected over all steps of a load, each once and with its place. Pure."""

from __future__ import annotations

from typing import Any

from compose.errors import ConfigError, ConfigErrors
from compose.loading.document import Path
from compose.loading.model import SECTIONS, SourceLocation
from compose.loading.sources import Provenance


class Problems:
    """Collects problems; it is a `Report`: call it with a message and the path in the model.

    `model` is the tree that paths lead into, where there is one already. A step of the load that has found problems
    calls `settle`: what later steps report at the same paths, or of what holds them, follows from the first and is
    left out. After `stop`, later steps have nothing to go on.
    """

    def __init__(self, sources: Provenance) -> None:
        self.errors: list[ConfigError] = []
        self.model: Any = None
        self.is_stopped = False
        self._sources = sources
        self._recent: list[Path] = []
        self._settled: list[Path] = []

    def __call__(self, message: str, path: Path) -> None:
        """Note a problem at `path` of the model."""
        if not self._follows(path):
            self.at(message, path, self._sources.nearest(path, self.model))

    def at(self, message: str, path: Path, place: SourceLocation | None) -> None:
        """Note a problem at `path` whose place in a file is known."""
        self._recent.append(path)
        text, _, hint = message.partition("\n    ")
        shown = f"{dotted(path)}: {text}" if path else text
        if place is None:
            self.errors.append(ConfigError(shown, hint=hint or None))
        else:
            self.errors.append(ConfigError(shown, place.file, place.line, place.column, hint or None))

    def add(self, error: ConfigError, path: Path = ()) -> None:
        """Note an error that has its place already; `path` is what it concerns."""
        if path:
            self._recent.append(path)
        self.errors.extend(error.errors if isinstance(error, ConfigErrors) else [error])

    def lead(self, error: ConfigError, path: Path, place: SourceLocation | None) -> None:
        """Note a problem of a file that another leads to: at its own place, or at `place`, which leads to it."""
        if error.line:
            self.add(error, path)
        else:
            self.at(str(error), path, place)

    def settle(self) -> list[Path]:
        """End a step; return the paths of all problems so far."""
        self._settled += self._recent
        self._recent = []
        return self._settled

    def stop(self) -> None:
        """Note that later steps can't check the model: a part of it is missing."""
        self.is_stopped = True

    def raise_any(self) -> None:
        """Raise what was noted, by file and line. Raises ConfigError for one problem, ConfigErrors for several."""
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            files = list(dict.fromkeys(error.file for error in self.errors))
            raise ConfigErrors(sorted(self.errors, key=lambda e: (files.index(e.file), e.line, e.column)))

    def _follows(self, path: Path) -> bool:
        for settled in self._settled:
            shorter = min(len(settled), len(path))
            if settled[:shorter] == path[:shorter]:
                return True
        return False


def dotted(path: Path) -> str:
    """Return a path as users read it: `services.web.ports[0].target`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def prune(model: Any, path: Path) -> None:
    """Remove, in place, what has a problem: the attribute, or its parent if that has nothing else."""
    holder: Any = model
    for step in path[:-1][:2]:
        holder = holder.get(step) if isinstance(holder, dict) else None
    if not isinstance(holder, dict) or not path:
        return
    last = path[:3][-1]
    if len(path) == 2 and path[0] in ("services", *SECTIONS) and last in holder:
        holder[last] = {}  # others may refer to it
    else:
        holder.pop(last, None)
