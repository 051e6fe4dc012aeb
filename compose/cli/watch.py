"""`watch`: brings changes of files into containers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from compose.cli.context import Globals
from compose.cli.options import Services
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.watch.session import WatchSession

INTERRUPTED = 130


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
    from compose.stack.watch import WatchRequest, bring_up, make_session
    from compose.watch.lock import lock

    common: Globals = ctx.obj
    project = common.load(services)
    context = common.context()
    request = WatchRequest(tuple(services or ()), quiet_build=quiet, prunes=prune)
    session = make_session(context, project, request)
    with lock(project.name, str(context.where)):
        if not no_up:
            bring_up(context, project, session, request)
        _run_until_interrupted(session)
    return INTERRUPTED


def _run_until_interrupted(session: WatchSession) -> None:
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
