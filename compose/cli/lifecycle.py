"""down, start, stop, restart, kill, pause, unpause, rm: the life of a stack that is there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any

import typer

from compose.cli.context import Globals
from compose.cli.up import Services, Timeout
from compose.plan.project import DesiredProject, ObservedContainer
from compose.plan.restarts import dependencies_first, restarted_with
from compose.render.progress import Progress
from runtime.errors import NotModifiedError, SkiffError


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command()
    def down(
        ctx: typer.Context,
        services: Services = None,
        volumes: Annotated[bool, typer.Option("--volumes", "-v", help="Remove volumes too")] = False,
        rmi: Annotated[str, typer.Option("--rmi", help="Remove images: all, or local ones only")] = "",
        remove_orphans: Annotated[
            bool | None, typer.Option("--remove-orphans", help="Remove containers of gone services, and one-offs")
        ] = None,
        timeout: Timeout = None,
    ) -> None:
        """Stop and remove containers and networks."""
        if rmi not in ("", "all", "local"):
            raise SkiffError(f'invalid value for --rmi: "{rmi}"', "write --rmi all or --rmi local")
        take_down(
            ctx.obj,
            services or (),
            volumes=volumes,
            images=rmi,
            remove_orphans=remove_orphans,
            timeout_s=timeout,
        )

    @app.command()
    def start(
        ctx: typer.Context,
        services: Services = None,
        wait: Annotated[bool, typer.Option("--wait", help="Wait until services are healthy")] = False,
        wait_timeout: Annotated[int, typer.Option("--wait-timeout", help="Seconds that --wait waits")] = 0,
    ) -> None:
        """Start containers that were stopped."""
        from compose.cli.stack import wait_up

        common: Globals = ctx.obj
        target, has_files = common.load_or_name(services or ())
        found = common.containers(target, services or ())
        here = {container.service for container in found}
        for name in services or (() if found else target.services):
            if name not in here:
                raise SkiffError(f'service "{name}" has no container to start', f"make it: `skiff up -d {name}`")
        if not found:
            raise SkiffError(f"no container found for project {target.name!r}", "make them: `skiff up -d`")

        def begin(container: ObservedContainer, progress: Progress) -> None:
            common.client.start(container.id)
            _hooks(common, target, "post_start", container, progress)

        _each(common, "start", dependencies_first(target, [c for c in found if c.state != "running"]), begin)
        if wait and has_files and not common.dry_run:
            wait_up(common, target, services or (), wait_timeout)

    @app.command()
    def stop(ctx: typer.Context, services: Services = None, timeout: Timeout = None) -> None:
        """Stop containers, do not remove them."""
        common: Globals = ctx.obj
        target, _ = common.load_or_name(services or ())
        _stop(common, target, common.containers(target, services or ()), timeout)
        _stop_providers(common, target, services or ())

    @app.command()
    def restart(
        ctx: typer.Context,
        services: Services = None,
        timeout: Timeout = None,
        no_deps: Annotated[bool, typer.Option("--no-deps", help="Leave those alone that depend on them")] = False,
    ) -> None:
        """Restart containers, and those of services that want to be restarted with them."""
        from compose.execute.restarts import restart as restart_container

        common: Globals = ctx.obj
        target, _ = common.load_or_name()
        found = common.containers(target)
        common.containers(target, services or ())
        if services and not no_deps:
            services = sorted(restarted_with(found, services))
        chosen = [container for container in found if not services or container.service in services]

        def again(container: ObservedContainer, progress: Progress) -> None:
            restart_container(common.client, target, container, timeout, progress.line)

        _each(common, "restart", dependencies_first(target, chosen), again)

    @app.command()
    def kill(
        ctx: typer.Context,
        services: Services = None,
        signal: Annotated[str, typer.Option("--signal", "-s", help="Signal to send")] = "SIGKILL",
        remove_orphans: Annotated[
            bool, typer.Option("--remove-orphans", help="Kill containers of gone services, too")
        ] = False,
    ) -> None:
        """Send a signal to containers."""
        common: Globals = ctx.obj
        target, has_files = common.load_or_name(services or ())
        known = {*target.services, *target.disabled}
        found = [
            container
            for container in common.containers(target, services or ())
            if container.is_alive and (remove_orphans or services or not has_files or container.service in known)
        ]
        if not found:
            print("no container to kill", file=sys.stderr)
        _each(common, "kill", found, lambda container, _: common.client.kill(container.id, signal))

    @app.command()
    def pause(ctx: typer.Context, services: Services = None) -> None:
        """Freeze containers."""
        common: Globals = ctx.obj
        target, _ = common.load_or_name(services or ())
        found = [c for c in common.containers(target, services or ()) if c.state == "running"]
        _each(common, "pause", found, lambda container, _: common.client.pause(container.id))

    @app.command()
    def unpause(ctx: typer.Context, services: Services = None) -> None:
        """Let frozen containers go on."""
        common: Globals = ctx.obj
        target, _ = common.load_or_name(services or ())
        found = [c for c in common.containers(target, services or ()) if c.state == "paused"]
        _each(common, "unpause", found, lambda container, _: common.client.unpause(container.id))

    @app.command()
    def rm(
        ctx: typer.Context,
        services: Services = None,
        force: Annotated[bool, typer.Option("--force", "-f", help="Do not ask")] = False,
        stop: Annotated[bool, typer.Option("--stop", "-s", help="Stop them first")] = False,
        volumes: Annotated[bool, typer.Option("--volumes", "-v", help="Remove anonymous volumes too")] = False,
        all: Annotated[bool, typer.Option("--all", "-a", hidden=True)] = False,
    ) -> None:
        """Remove containers that do not run."""
        common: Globals = ctx.obj
        target, _ = common.load_or_name(services or ())
        found = common.containers(target, services or ())
        if stop:
            _stop(common, target, found, None)
        chosen = [container for container in found if stop or not container.is_alive]
        if not chosen:
            print("No stopped containers", file=sys.stderr)
            return
        if not force and not _is_confirmed(f"Going to remove {', '.join(container.name for container in chosen)}"):
            return
        _each(common, "remove", chosen, lambda c, _: common.client.remove(c.id, force=True, volumes=volumes))


def _is_confirmed(question: str) -> bool:
    """Ask the user. Raises SkiffError when nobody is there to answer."""
    try:
        return typer.confirm(f"? {question}", err=True)
    except typer.Abort:
        raise SkiffError("nothing was removed: nobody confirmed it", "--force removes without asking") from None


def take_down(
    common: Globals,
    services: Sequence[str] = (),
    *,
    volumes: bool = False,
    images: str = "",
    remove_orphans: bool | None = None,
    timeout_s: int | None = None,
) -> None:
    """Stop and remove a project, or `services` of it; nothing to remove is worth a warning. Raises SkiffError."""
    from compose.cli.stack import run_provider
    from compose.execute.observe import observe
    from compose.execute.operations import Executor
    from compose.execute.runner import run
    from compose.plan.down import plan_down
    from compose.plan.providing import provided

    target, has_files = common.load_or_name(services)
    observed = observe(common.client, target)
    orphans = common.is_set("COMPOSE_REMOVE_ORPHANS") if remove_orphans is None else remove_orphans
    plan = plan_down(
        target,
        observed,
        services=tuple(services),
        volumes=volumes,
        images=images,
        remove_orphans=orphans,
        has_files=has_files,
    )
    providing = [name for name in reversed(provided(target, list(target.services))) if not services or name in services]
    if not plan.operations and not providing:
        print(f'Warning: No resource found to remove for project "{target.name}".', file=sys.stderr)
    with common.display() as progress:
        executor = Executor(
            common.where,
            target,
            observed,
            progress,
            stop_timeout_s=timeout_s,
            remove_volumes=volumes,
            dry_run=common.dry_run,
        )
        run(plan, executor.perform, common.limit())
        for name in providing:
            run_provider(common, target, name, "down", progress)


def _stop_providers(common: Globals, target: DesiredProject, services: Sequence[str]) -> None:
    """Have providers stop what they provide, dependants first; those that know no such command are not asked."""
    from compose.cli.stack import run_provider
    from compose.plan.providing import provided

    names = provided(target, list(services or target.services))
    if not names:
        return
    from compose.execute.providers import cares_for_stop

    with common.display() as progress:
        for name in (each for each in reversed(names) if cares_for_stop(target, each, common.environ)):
            run_provider(common, target, name, "stop", progress)


def _stop(
    common: Globals, target: DesiredProject, containers: Sequence[ObservedContainer], timeout_s: int | None
) -> None:
    """Stop `containers`, dependants first."""
    from compose.execute.operations import Executor
    from compose.execute.runner import run
    from compose.plan.down import plan_stop
    from compose.plan.operations import Plan
    from compose.plan.project import EngineState

    observed = EngineState(containers)
    plan = Plan.of(plan_stop(observed, containers, remove=False))
    with common.display() as progress:
        executor = Executor(common.where, target, observed, progress, stop_timeout_s=timeout_s, dry_run=common.dry_run)
        run(plan, executor.perform, common.limit())


def _each(
    common: Globals,
    kind: str,
    containers: Sequence[ObservedContainer],
    action: Callable[[ObservedContainer, Progress], Any],
) -> None:
    """Do `action` to each of `containers`, and show it as steps of `kind`."""
    with common.display() as progress:
        for container in containers:
            with progress.step(kind, container.name), suppress(NotModifiedError):
                if not common.dry_run:
                    action(container, progress)


def _hooks(
    common: Globals, target: DesiredProject, phase: str, container: ObservedContainer, progress: Progress
) -> None:
    from compose.execute.hooks import run_hooks

    service = target.services.get(container.service) or {}
    if service.get(phase):
        run_hooks(
            common.client,
            service,
            phase,
            container.id,
            container.name,
            lambda line: progress.line(f" {container.name} {phase} | {line}"),
        )
