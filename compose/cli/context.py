"""What every command starts from: the global flags, the project they select, the engine, the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from compose.stack.context import Context
from compose.stack.source import Loader, ProjectSource
from runtime.client import Client, EngineAddress, endpoint
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.events import Event
    from compose.plan.project import DesiredProject

DRY_RUN = "DRY-RUN MODE - "


@dataclass
class Globals:
    """The flags before the command."""

    source: ProjectSource = field(default_factory=ProjectSource)
    host: str | None = None
    progress: str = ""
    ansi: str = "auto"
    parallel: int = -1
    dry_run: bool = False
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @cached_property
    def where(self) -> EngineAddress:
        """Where the engine is."""
        return endpoint(self.environ, self.host)

    @cached_property
    def client(self) -> Client:
        """A client of the engine."""
        return Client(self.where)

    @cached_property
    def loader(self) -> Loader:
        """Loads the project."""
        return Loader(self.source, self.environ, lambda: self.where, self.warn)

    def load(self, services: Sequence[str] | None = None, *, makes_containers: bool = True) -> DesiredProject:
        """Return the project of the files; see Loader.load."""
        return self.loader.load(services or (), makes_containers=makes_containers)

    def load_or_name(self, services: Sequence[str] | None = None) -> tuple[DesiredProject, bool]:
        """Return the project and whether it comes from files; see Loader.load_or_name."""
        return self.loader.load_or_name(services or ())

    def is_set(self, name: str) -> bool:
        """Whether a COMPOSE_* variable is true."""
        return self.loader.is_set(name)

    @property
    def colours(self) -> bool | None:
        """Whether output is coloured (--ansi, $COMPOSE_ANSI); None: if it goes to a terminal."""
        wanted = self.loader.setting("COMPOSE_ANSI") if self.ansi == "auto" else self.ansi
        return {"never": False, "always": True}.get(wanted)

    @property
    def reports_json(self) -> bool:
        """Whether progress, warnings and errors are written as JSON (--progress, $COMPOSE_PROGRESS)."""
        return (self.progress or self.loader.setting("COMPOSE_PROGRESS")) == "json"

    def docker_format(self, command: str) -> str:
        """Return the format that the user's Docker configuration has for `command` ("psFormat"), or "". Raises SkiffError."""
        from runtime.client.credentials import setting

        return setting(self.environ, f"{command}Format")

    def warn(self, text: str) -> None:
        """Write a warning to standard error."""
        if self.reports_json:
            from compose.render.progress import json_warning

            text = json_warning(text)
        print(text, file=sys.stderr, flush=True)

    def context(self, *, quiet: bool = False) -> Context:
        """Return what use cases need; call it once the project is loaded, whose .env file has settings, too.

        With `quiet` no progress is shown. Raises SkiffError for a setting that makes no sense.
        """
        from compose.cli.terminal import ask

        display = None

        def emit(event: Event) -> None:
            # made with the first event: commands that only list things never need one
            nonlocal display
            if display is None:
                from compose.cli.display import Display

                environ = {**self.loader.project_environment, **self.environ}
                mode = "quiet" if quiet else self.progress
                self._say_which_engine(mode)
                display = Display(mode, self.ansi, environ, self.warn, prefix=DRY_RUN if self.dry_run else "")
            display.show(event)

        return Context(self.where, self.environ, emit, ask, parallel=self._limit(), dry_run=self.dry_run)

    def _say_which_engine(self, mode: str) -> None:
        """Name an engine that a variable chose, and that is not our own: who set it long ago wonders where things are."""
        variable = next((name for name in ("DOCKER_HOST", "DOCKER_CONTEXT") if self.environ.get(name)), "")
        is_chosen = variable and not self.host and not self.where.is_ours
        is_watched = sys.stderr is not None and sys.stderr.isatty()  # scripts know what they set
        if is_chosen and is_watched and mode != "quiet" and not self.reports_json:
            print(f" Engine {self.where} (${variable})", file=sys.stderr, flush=True)

    def _limit(self) -> int:
        """Return how many operations may run at once (--parallel, $COMPOSE_PARALLEL_LIMIT); 0 for no limit."""
        given = self.loader.setting("COMPOSE_PARALLEL_LIMIT") if self.parallel == -1 else ""
        if given and not given.lstrip("-").isdigit():
            raise SkiffError(f"COMPOSE_PARALLEL_LIMIT must be an integer (found: {given!r})", "write a number")
        return max(0, int(given) if given else self.parallel)

    def refuse_dry_run(self, command: str) -> None:
        """Raise SkiffError in dry-run mode: nobody can know beforehand what `command` does."""
        if self.dry_run:
            raise SkiffError(f"{command} has no dry-run mode", "leave --dry-run out")


def read_standard_input(limit_bytes: int) -> bytes:
    """Return what `-f -` reads."""
    return sys.stdin.buffer.read(limit_bytes)
