"""`watch`: changes of files become changes of containers; `up --watch` does the same in the background."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compose.execute.build_context import ignore_rules
from compose.plan.selection import select
from compose.watch.actions import Actions
from compose.watch.lock import lock
from compose.watch.rules import Action, extended_services, mounted_paths, rules_of
from compose.watch.session import WatchSession
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from compose.plan.project import DesiredProject
    from compose.stack.context import Context


@dataclass(frozen=True)
class WatchRequest:
    """Whose files to watch: those of `services` (none named: all), and of the services they depend on.

    `quiet_build` hides what builds print. `prunes` removes images that a rebuild leaves without a name. Without
    `builds`, a rule that rebuilds is an error.
    """

    services: Sequence[str] = ()
    quiet_build: bool = False
    prunes: bool = True
    builds: bool = True


def make_session(context: Context, project: DesiredProject, request: WatchRequest) -> WatchSession:
    """Return what watches the files. Raises SkiffError for rules that can't work."""
    names = select(project, request.services)
    for path in mounted_paths(project, names):
        context.warn(f"WARN path '{path}' also declared by a bind mount volume, this path won't be monitored!")
    for name in extended_services(project, names):
        context.warn(f"WARN service {name}: develop.watch has x-initialSync, which is called initial_sync now")
    ignored = {
        name: ignore_rules(Path(build.context), build.dockerfile or "Dockerfile")
        for name in names
        if (build := project.services[name].build) and Path(build.context).is_dir()
    }
    rules = rules_of(project, names, ignored)
    rebuilding = next((rule.service for rule in rules if rule.action is Action.REBUILD), "")
    if rebuilding and not request.builds:
        raise SkiffError(
            f"--no-build is incompatible with watch action rebuild in service {rebuilding}", "leave one of them out"
        )
    for path in sorted({rule.path for rule in rules if not Path(rule.path).exists()}):
        context.warn(
            f"WARN path '{path}' does not exist: it is watched from when it is made; correct develop.watch if it is wrong"
        )
    actions = Actions(
        context.where,
        project,
        context.emit,
        quiet_build=request.quiet_build,
        prunes=request.prunes,
        dry_run=context.dry_run,
        parallel=context.parallel,
    )
    return WatchSession(rules, actions)


def bring_up(context: Context, project: DesiredProject, session: WatchSession, request: WatchRequest) -> None:
    """Build and start what `session` watches, so that containers have the files as they are now. Raises SkiffError."""
    from compose.plan.up import UpOptions
    from compose.stack.up import ImageOptions, UpRequest, up

    images = ImageOptions(quiet_pull=request.quiet_build, quiet_build=request.quiet_build)
    session.actions.target = up(context, _built(project), UpRequest(UpOptions(tuple(request.services)), images))


def _built(project: DesiredProject) -> DesiredProject:
    """Return `project` with images of watched services always built: they must have the files as they are now."""
    watched = [service for service in project.services.values() if service.build and service.is_developed]
    return project.with_services(*(service.changed(pull_policy="build") for service in watched))


class BackgroundWatch:
    """Runs a session in a thread, while the caller does something else."""

    def __init__(self, session: WatchSession) -> None:
        self._session = session
        self._ends = ExitStack()
        self._running: Future[None] | None = None
        self._is_over = threading.Event()

    def begin(self, project: DesiredProject, fail: Callable[[BaseException], None]) -> None:
        """Watch from now on; `project` is the one that was brought up. `fail` is called with an error that ends it."""
        from anyio.from_thread import start_blocking_portal

        self._session.actions.target = project
        try:
            self._ends.enter_context(lock(project.name, str(self._session.actions.where)))
        except SkiffError as error:
            fail(error)
            return
        self._running = self._ends.enter_context(start_blocking_portal()).start_task_soon(self._run)
        self._running.add_done_callback(lambda running: self._ended(running, fail))

    async def _run(self) -> None:
        try:
            await self._session.run()
        finally:
            self._is_over.set()

    def _ended(self, running: Future[None], fail: Callable[[BaseException], None]) -> None:
        from runtime.errors import first_error

        if not running.cancelled() and (error := running.exception()) is not None:
            fail(first_error(error))

    def end(self) -> None:
        """Stop watching; return once changes of containers that have begun are done."""
        if self._running is not None:
            self._running.cancel()
            self._is_over.wait()
            self._ends.close()
