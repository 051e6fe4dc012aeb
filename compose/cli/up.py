"""up, create, scale: containers as the files want them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from compose.cli.context import Globals
from runtime.errors import SkiffError

Services = Annotated[list[str] | None, typer.Argument(help="Services; all when none is named")]
Timeout = Annotated[int | None, typer.Option("--timeout", "-t", help="Seconds to wait before a container is killed")]
Build = Annotated[bool, typer.Option("--build", help="Build images first")]
NoBuild = Annotated[bool, typer.Option("--no-build", help="Do not build images")]
Pull = Annotated[str, typer.Option("--pull", help="always, missing or never")]
QuietPull = Annotated[bool, typer.Option("--quiet-pull", help="Pull without showing it")]
QuietBuild = Annotated[bool, typer.Option("--quiet-build", help="Build without showing it")]
ForceRecreate = Annotated[bool, typer.Option("--force-recreate", help="Recreate what did not change")]
NoRecreate = Annotated[bool, typer.Option("--no-recreate", help="Recreate nothing")]
NoDeps = Annotated[bool, typer.Option("--no-deps", help="Leave dependencies alone")]
RemoveOrphans = Annotated[bool | None, typer.Option("--remove-orphans", help="Remove containers of gone services")]
Scale = Annotated[list[str] | None, typer.Option("--scale", help="SERVICE=NUMBER")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Answer every question with yes")]


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command()
    def up(
        ctx: typer.Context,
        services: Services = None,
        detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background")] = False,
        wait: Annotated[bool, typer.Option("--wait", help="Wait until services are healthy; implies -d")] = False,
        wait_timeout: Annotated[int, typer.Option("--wait-timeout", help="Seconds that --wait waits")] = 0,
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
        exit_code_from: Annotated[str, typer.Option("--exit-code-from", help="Service whose exit code is ours")] = "",
        attach: Annotated[list[str] | None, typer.Option("--attach", help="Show the output of these alone")] = None,
        no_attach: Annotated[list[str] | None, typer.Option("--no-attach", help="Show no output of these")] = None,
        attach_dependencies: Annotated[
            bool, typer.Option("--attach-dependencies", help="Show the output of dependencies, too")
        ] = False,
        no_color: Annotated[bool, typer.Option("--no-color", help="No colours")] = False,
        no_log_prefix: Annotated[bool, typer.Option("--no-log-prefix", help="No names before lines")] = False,
        timestamps: Annotated[bool, typer.Option("--timestamps", help="Show times")] = False,
        menu: Annotated[bool | None, typer.Option("--menu", hidden=True)] = None,
        watch: Annotated[
            bool, typer.Option("--watch", "-w", help="Watch files, and bring their changes into containers")
        ] = False,
        yes: Yes = False,
    ) -> int:
        """Create and start containers."""
        from compose.cli.stack import ImageOptions, StackUp, UpBehavior, wait_up
        from compose.plan.up import UpOptions

        common: Globals = ctx.obj
        detached = detach or wait
        aborts = abort_on_container_exit or (bool(exit_code_from) and not abort_on_container_failure)
        _exclude(
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
        target = common.load(services or ())
        if not target.services:
            raise SkiffError("no service selected", "name one, or enable a profile: --profile NAME")
        removes, ignores = orphan_manners(common, remove_orphans)
        for name in (exit_code_from, *(attach or ()), *(no_attach or ())):
            if name and name not in target.services:
                raise SkiffError(f"no such service: {name}", f"services: {', '.join(target.services)}")
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
        )
        stack_up = StackUp(
            common,
            target,
            ImageOptions(build, no_build, checked_policy(pull), quiet_pull, quiet_build),
            UpBehavior(timeout, yes, ignores),
        )
        if detached or no_start or common.dry_run:
            stack_up.run(options)
            if wait and not common.dry_run:
                wait_up(common, target, options.services, wait_timeout)
            return 0
        from compose.cli.attached import Attached, AttachOptions, shown_services

        watching = None
        if watch:
            from compose.cli.watch import BackgroundWatch, make_session

            session = make_session(common, target, options.services, quiet_build=quiet_build, builds=not no_build)
            watching = BackgroundWatch(session, common)
        shown = shown_services(target, options.services, attach or (), no_attach or (), attach_dependencies)
        return Attached(
            common,
            target,
            stack_up,
            options,
            AttachOptions(
                shown=shown,
                aborts_on_exit=aborts,
                aborts_on_failure=abort_on_container_failure,
                exit_code_from=exit_code_from,
                prefix=not no_log_prefix,
                colour=False if no_color else None,
                timestamps=timestamps,
                timeout_s=timeout,
            ),
            watching,
        ).run()

    @app.command()
    def create(
        ctx: typer.Context,
        services: Services = None,
        build: Build = False,
        no_build: NoBuild = False,
        pull: Pull = "policy",
        quiet_pull: QuietPull = False,
        force_recreate: ForceRecreate = False,
        no_recreate: NoRecreate = False,
        remove_orphans: RemoveOrphans = None,
        scale: Scale = None,
        yes: Yes = False,
    ) -> None:
        """Create containers, do not start them."""
        from compose.cli.stack import ImageOptions, StackUp, UpBehavior
        from compose.plan.up import UpOptions

        common: Globals = ctx.obj
        _exclude(
            ("--build", build, "--no-build", no_build),
            ("--force-recreate", force_recreate, "--no-recreate", no_recreate),
        )
        target = common.load(services or ())
        removes, ignores = orphan_manners(common, remove_orphans)
        options = UpOptions(
            tuple(services or ()),
            force_recreate=force_recreate,
            no_recreate=no_recreate,
            start=False,
            remove_orphans=removes,
            scale=scales(scale or ()),
        )
        images = ImageOptions(build, no_build, checked_policy(pull), quiet_pull)
        StackUp(common, target, images, UpBehavior(None, yes, ignores)).run(options)

    @app.command()
    def scale(
        ctx: typer.Context,
        wanted: Annotated[list[str], typer.Argument(metavar="SERVICE=NUMBER...")],
        no_deps: NoDeps = False,
    ) -> None:
        """Run as many containers of services as wanted."""
        from compose.cli.stack import ImageOptions, StackUp, UpBehavior
        from compose.plan.up import UpOptions

        common: Globals = ctx.obj
        numbers = scales(wanted)
        target = common.load(tuple(numbers))
        options = UpOptions(tuple(numbers), with_dependencies=not no_deps, scale=numbers)
        StackUp(common, target, ImageOptions(), UpBehavior(ignore_orphans=True)).run(options)


def _exclude(*pairs: tuple[str, bool, str, bool]) -> None:
    """Raise SkiffError for two flags that can't both be meant."""
    for one, is_one, other, is_other in pairs:
        if is_one and is_other:
            raise SkiffError(f"{one} cannot be combined with {other}", "leave one of them out")


def scales(pairs: Sequence[str]) -> dict[str, int]:
    """Return the numbers of `SERVICE=NUMBER`. Raises SkiffError for what is not of that form."""
    found = {}
    for pair in pairs:
        name, equals, number = pair.partition("=")
        if not equals or not number.isdigit():
            raise SkiffError(f"invalid scale {pair!r}", "write SERVICE=NUMBER")
        found[name] = int(number)
    return found


def checked_policy(policy: str) -> str:
    """Return a pull policy as --pull may have it. Raises SkiffError for another word."""
    from compose.cli.stack import PULL_POLICIES

    if policy not in PULL_POLICIES:
        raise SkiffError(f'invalid --pull option "{policy}"', "write always, missing, never or build")
    return policy


def orphan_manners(common: Globals, remove: bool | None) -> tuple[bool, bool]:
    """Return whether orphans are removed, and whether they are passed over in silence. Raises SkiffError for both."""
    removes = common.is_set("COMPOSE_REMOVE_ORPHANS") if remove is None else remove
    ignores = common.is_set("COMPOSE_IGNORE_ORPHANS")
    if removes and ignores:
        raise SkiffError("cannot combine COMPOSE_IGNORE_ORPHANS and --remove-orphans", "unset one of them")
    return removes, ignores
