"""watch: changes of files here become changes of what runs; what `up --watch` shares with it."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compose.cli.context import DRY_RUN, Globals
from compose.cli.up import Services
from compose.plan.project import DesiredProject
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from compose.watch.session import Session

INTERRUPTED = 130


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def watch(
        ctx: typer.Context,
        services: Services = None,
        no_up: Annotated[bool, typer.Option("--no-up", help="Do not build and start services first")] = False,
        quiet: Annotated[bool, typer.Option("--quiet", help="Hide what builds print")] = False,
        prune: Annotated[
            bool, typer.Option("--prune/--no-prune", help="Remove images that a rebuild leaves without a name")
        ] = True,
    ) -> int:
        """Watch files; sync them into containers, or rebuild and restart these, when they change."""
        from compose.cli.stack import ImageOptions, StackUp, UpBehavior
        from compose.plan.up import UpOptions
        from compose.watch.lock import lock

        common: Globals = ctx.obj
        target = common.load(services or ())
        session = make_session(common, target, services or (), quiet_build=quiet, prunes=prune)
        with lock(target.name, str(common.where)):
            if not no_up:
                images = ImageOptions(quiet_pull=quiet, quiet_build=quiet)
                stack_up = StackUp(common, _built(target), images, UpBehavior())
                stack_up.run(UpOptions(tuple(services or ())))
                session.actions.target = stack_up.target
            run_until_interrupted(session)
        return INTERRUPTED


def _built(target: DesiredProject) -> DesiredProject:
    """Return the project with the images of what is watched built anew: they are to have the files as they are now."""
    services = {
        name: {**service, "pull_policy": "build"} if service.get("build") and service.get("develop") else service
        for name, service in target.services.items()
    }
    return dataclasses.replace(target, model={**target.model, "services": services})


def make_session(
    common: Globals,
    target: DesiredProject,
    services: Sequence[str],
    *,
    quiet_build: bool = False,
    prunes: bool = True,
    builds: bool = True,
) -> Session:
    """Return the watching of `services`, and of those they depend on. Raises SkiffError for rules that can't work.

    Without `builds` a rule that would is one of these.
    """
    from compose.execute.build_context import ignore_rules
    from compose.plan.selection import select
    from compose.watch.actions import Actions
    from compose.watch.rules import Action, mounted_paths, rules_of
    from compose.watch.session import Session

    names = select(target, services)
    for path in mounted_paths(target, names):
        _warn(f"path '{path}' also declared by a bind mount volume, this path won't be monitored!")
    ignored = {
        name: ignore_rules(Path(build["context"]), build.get("dockerfile") or "Dockerfile")
        for name in names
        if (build := target.services[name].get("build")) and Path(build.get("context") or "").is_dir()
    }
    rules = rules_of(target, names, ignored)
    rebuilding = next((rule.service for rule in rules if rule.action is Action.REBUILD), "")
    if rebuilding and not builds:
        raise SkiffError(
            f"--no-build is incompatible with watch action rebuild in service {rebuilding}", "leave one of them out"
        )
    for path in sorted({rule.path for rule in rules if not Path(rule.path).exists()}):
        _warn(f"path '{path}' does not exist: it is watched from when it is made; correct develop.watch if it is wrong")
    prefix = DRY_RUN if common.dry_run else ""
    actions = Actions(
        common.where,
        target,
        tell=lambda line: _show(f"  ⦿ {prefix}{line}"),
        warn=_warn,
        show=_show,
        quiet_build=quiet_build,
        prunes=prunes,
        dry_run=common.dry_run,
        parallel=common.limit(),
    )
    return Session(rules, actions)


def _show(line: str) -> None:
    """Write a line in one go: others may write, too."""
    sys.stdout.buffer.write(f"{line}\n".encode(errors="replace"))
    sys.stdout.buffer.flush()


def _warn(text: str) -> None:
    print(f"WARN {text}", file=sys.stderr, flush=True)


class BackgroundWatch:
    """Watching that goes on beside something else, in a thread of its own."""

    def __init__(self, session: Session, common: Globals) -> None:
        self._session = session
        self._common = common
        self._ends = ExitStack()
        self._running: Future[None] | None = None
        self._is_over = threading.Event()

    def begin(self, target: DesiredProject, fail: Callable[[BaseException], None]) -> None:
        """Watch from now on; `target` is the project as it was brought up. `fail` hears of an error that ends it."""
        from anyio.from_thread import start_blocking_portal

        from compose.watch.lock import lock

        self._session.actions.target = target
        try:
            self._ends.enter_context(lock(target.name, str(self._common.where)))
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
        """Watch no more; what is just being done to containers is waited for."""
        if self._running is not None:
            self._running.cancel()
            self._is_over.wait()


def run_until_interrupted(session: Session) -> None:
    """Watch until Ctrl-C, or SIGTERM; a second one ends at once. Raises SkiffError."""
    import signal

    import anyio

    from runtime.errors import first_error

    async def run() -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with anyio.create_task_group() as group:

                async def end() -> None:
                    async for _ in signals:
                        for number in (signal.SIGINT, signal.SIGTERM):
                            signal.signal(number, signal.SIG_DFL)
                        group.cancel_scope.cancel()

                group.start_soon(end)
                await session.run()

    try:
        anyio.run(run)
    except BaseExceptionGroup as group:
        error = first_error(group)
        if isinstance(error, SkiffError):
            raise error from None
        raise
