"""The text of `config --explain`: where a variable could be set, which place won, and where it is used."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compose.loading import Project
    from compose.loading.model import Variable

Origins = Sequence[tuple[str, str]]
PROCESS = "the environment"


def explanation(project: Project, name: str) -> Iterator[str]:
    """Yield every place that could set variable `name` with what it says and which one counts, and every use."""
    origins = project.origins.get(name) or ()
    yield f"{name} is {_shown(origins[0][1])}\n" if origins else f"{name} is not set\n"
    if not any(origin == PROCESS for origin, _ in origins):
        yield f"  {PROCESS}: does not set it\n"
    yield from _places(origins, "  ")
    setting = {origin.rpartition(":")[0] for origin, _ in origins}
    for path in project.env_files:
        from compose.loading.files import shown

        file = shown(path, os.getcwd())
        if file not in setting:
            yield f"  {file}: does not set it\n"
    if not project.env_files:
        yield f"  {os.path.join(project.working_directory, '.env')}: not there\n"
    for file, local in project.included_origins.items():
        # an included file may have variables of its own; those of the project come before them
        if len(local.get(name) or ()) > len(origins):
            yield f"  for {file}, which is included:\n"
            yield from _places(local[name], "    ", len(origins))
    uses = [variable for variable in project.variables if variable.name == name]
    for variable in uses:
        yield f"used at {variable.place}{_notes(variable)}\n"
    if not uses:
        yield "no file uses it\n"


def _places(origins: Origins, indent: str, known: int = 0) -> Iterator[str]:
    """Yield a line for each of `origins` but the `known` first ones."""
    for number, (origin, value) in enumerate(origins):
        if number < known:
            continue
        reason = f"not used: {origins[0][0]} comes first"
        if number == 0:
            reason = "this one counts"
            if len(origins) > 1 and origin == PROCESS:
                reason += ": the environment comes before any file"
            elif len(origins) > 1 and ":" in origin:
                reason += ": of several files the last"
        yield f"{indent}{origin}: {_shown(value)} ({reason})\n"


def _notes(variable: Variable) -> str:
    notes = ["required"] if variable.required else []
    if variable.default:
        notes.append(f"default {_shown(variable.default)}")
    if variable.alternative:
        notes.append(f"{_shown(variable.alternative)} when it is set")
    return f": {', '.join(notes)}" if notes else ""


def _shown(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
