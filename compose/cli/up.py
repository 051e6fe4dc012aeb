"""`up`: creates and starts containers; in the foreground with their output."""

from __future__ import annotations

import os
import signal
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from compose.cli.context import Globals
from compose.cli.options import (
    Build,
    ForceRecreate,
    NoBuild,
    NoColor,
    NoDeps,
    NoLogPrefix,
    NoRecreate,
    Pull,
    QuietBuild,
    QuietPull,
    RemoveOrphans,
    Rerun,
    Scale,
    Services,
    Timeout,
    WaitTimeout,
    Yes,
    checked_policy,
    exclude,
    orphan_options,
    scales,
)
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.cli.menu import Menu
    from compose.stack.attached import AttachedUp
    from compose.stack.watch import BackgroundWatch

INTERRUPTED = 130


def up(
    ctx: typer.Context,
    services: Services = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until services are healthy; implies -d")] = False,
    wait_timeout: WaitTimeout = 0,
    build: Build = False,
    no_build: NoBuild = False,
    pull: Pull = "policy",
    quiet_pull: QuietPull = False,
    quiet_build: QuietBuild = False,
    force_recreate: ForceRecreate = False,
    no_recreate: NoRecreate = False,
    always_recreate_deps: Annotated[
        bool, typer.Option("--always-recreate-deps", help="Recreate dependencies, too")
    ] = False,
    no_deps: NoDeps = False,
    rerun: Rerun = False,
    no_start: Annotated[bool, typer.Option("--no-start", help="Create, do not start")] = False,
    remove_orphans: RemoveOrphans = None,
    scale: Scale = None,
    renew_anon_volumes: Annotated[
        bool, typer.Option("--renew-anon-volumes", "-V", help="New anonymous volumes, without the old data")
    ] = False,
    timeout: Timeout = None,
    abort_on_container_exit: Annotated[
        bool, typer.Option("--abort-on-container-exit", help="Stop all when one container ends")
    ] = False,
    abort_on_container_failure: Annotated[
        bool, typer.Option("--abort-on-container-failure", help="Stop all when one container fails")
    ] = False,
    exit_code_from: Annotated[
        str, typer.Option("--exit-code-from", help="Exit with the exit code of this service")
    ] = "",
    attach: Annotated[list[str] | None, typer.Option("--attach", help="Show only the output of these")] = None,
    no_attach: Annotated[list[str] | None, typer.Option("--no-attach", help="Show no output of these")] = None,
    attach_dependencies: Annotated[
        bool, typer.Option("--attach-dependencies", help="Show the output of dependencies, too")
    ] = False,
    no_color: NoColor = False,
    no_log_prefix: NoLogPrefix = False,
    timestamps: Annotated[bool, typer.Option("--timestamps", help="Show times")] = False,
    menu: Annotated[bool | None, typer.Option("--menu", help="Take keys while attached, as $COMPOSE_MENU does")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Watch files, and copy or build their changes into containers")
    ] = False,
    yes: Yes = False,
) -> int:
    """Create and start containers."""
    from compose.plan.up import UpOptions
    from compose.stack.up import ImageOptions, UpRequest
    from compose.stack.up import up as bring_up

    common: Globals = ctx.obj
    detached = detach or wait
    aborts = abort_on_container_exit or (bool(exit_code_from) and not abort_on_container_failure)
    exclude(
        ("--abort-on-container-exit", aborts, "--abort-on-container-failure", abort_on_container_failure),
        ("--wait", wait, "--abort-on-container-exit, --attach or --attach-dependencies",
         aborts or bool(attach) or attach_dependencies),
        ("--detach", detached, "--abort-on-container-exit, --abort-on-container-failure, --attach, "
         "--attach-dependencies or --watch",
         aborts or abort_on_container_failure or bool(attach) or attach_dependencies or watch),
        ("--attach", bool(attach), "--attach-dependencies", attach_dependencies),
        ("--build", build, "--no-build", no_build),
        ("--renew-anon-volumes", renew_anon_volumes, "--no-recreate", no_recreate),
        ("--force-recreate", force_recreate, "--no-recreate", no_recreate),
        ("--always-recreate-deps", always_recreate_deps, "--no-recreate", no_recreate),
    )  # fmt: skip
    project = common.load(services)
    if not project.services and not (project.section("networks") or project.section("volumes")):
        raise SkiffError("no service selected", "name one, or enable a profile: --profile NAME")
    removes, ignores = orphan_options(common, remove_orphans)
    for name in (exit_code_from, *(attach or ()), *(no_attach or ())):
        if name and name not in project.services:
            raise SkiffError(f"no such service: {name}", f"services: {', '.join(project.services)}")
    options = UpOptions(
        services=tuple(services or ()),
        with_dependencies=not no_deps,
        force_recreate=force_recreate,
        no_recreate=no_recreate,
        always_recreate_dependencies=always_recreate_deps,
        start=not no_start,
        remove_orphans=removes,
        scale=scales(scale or ()),
        renew_anonymous_volumes=renew_anon_volumes,
        rerun=rerun,
    )
    request = UpRequest(
        options,
        ImageOptions(build, no_build, checked_policy(pull), quiet_pull, quiet_build),
        stop_timeout_s=timeout,
        assume_yes=yes,
        ignore_orphans=ignores,
        wait=wait,
        wait_timeout_s=wait_timeout,
    )
    context = common.context()
    if detached or no_start or common.dry_run:
        bring_up(context, project, request)
        return 0
    from compose.cli.menu import Menu, keys_of
    from compose.cli.terminal import has_terminal
    from compose.render.logs import LogPrinter
    from compose.stack.attached import AttachedUp, AttachOptions, shown_services

    def make_watching() -> BackgroundWatch:
        from compose.stack.watch import BackgroundWatch, WatchRequest, make_session

        wanted = WatchRequest(options.services, quiet_build=quiet_build, builds=not no_build)
        return BackgroundWatch(make_session(context, project, wanted))

    has_menu = has_terminal() and (_wants_menu(common) if menu is None else menu)
    shown = shown_services(project, options.services, attach or (), no_attach or (), attach_dependencies)
    attached = AttachedUp(
        context,
        project,
        request,
        AttachOptions(shown, aborts, abort_on_container_failure, exit_code_from),
        LogPrinter(
            prefix=not no_log_prefix,
            colour=False if no_color else common.colours,
            timestamps=timestamps,
            separates_errors=True,
        ),
        make_watching() if watch else None,
        make_watching if has_menu else None,
    )
    attached.prepare()
    keys = Menu(2, escapes=common.colours is not False and not no_color)
    keys.set_watching(attached.is_watching)
    _stop_on_signal(attached, keys)
    with keys_of(attached, keys) if has_menu else nullcontext():
        code = attached.run()
    return INTERRUPTED if code is None else code


def _wants_menu(common: Globals) -> bool:
    return common.loader.setting("COMPOSE_MENU").lower() in ("1", "true", "t", "yes", "y")


def _stop_on_signal(attached: AttachedUp, menu: Menu) -> None:
    """Stop the stack at Ctrl-C and at SIGTERM; at the second, kill it."""

    def interrupt(*_: object) -> None:
        menu.hide()
        if attached.interrupt() == 1:
            # not print: the signal may have come in the midst of another write to the same buffer
            os.write(2, b"\nGracefully stopping... (press Ctrl+C again to force)\n")

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
