"""up, down, create, start, stop, restart, kill, pause, unpause, rm: the life of a stack."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from compose.cli.context import Globals
from compose.plan.operations import Kind
from compose.plan.project import Existing, Target
from compose.render.progress import Progress
from runtime.errors import NotModifiedError, SkiffError

Services = Annotated[list[str] | None, typer.Argument(help="Services; all when none is named")]
ALIVE = ("running", "paused", "restarting")
Timeout = Annotated[int | None, typer.Option("--timeout", "-t", help="Seconds to wait before a container is killed")]


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command()
    def up(
        ctx: typer.Context,
        services: Services = None,
        detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background")] = False,
        wait: Annotated[bool, typer.Option("--wait", help="Wait until services are healthy; implies -d")] = False,
        wait_timeout: Annotated[int, typer.Option("--wait-timeout", help="Seconds that --wait waits")] = 0,
        build: Annotated[bool, typer.Option("--build", help="Build images first")] = False,
        no_build: Annotated[bool, typer.Option("--no-build", help="Do not build images")] = False,
        pull: Annotated[str, typer.Option("--pull", help="always, missing or never")] = "",
        force_recreate: Annotated[bool, typer.Option("--force-recreate", help="Recreate what did not change")] = False,
        no_recreate: Annotated[bool, typer.Option("--no-recreate", help="Recreate nothing")] = False,
        always_recreate_deps: Annotated[bool, typer.Option("--always-recreate-deps")] = False,
        no_deps: Annotated[bool, typer.Option("--no-deps", help="Leave dependencies alone")] = False,
        no_start: Annotated[bool, typer.Option("--no-start", help="Create, do not start")] = False,
        remove_orphans: Annotated[
            bool, typer.Option("--remove-orphans", help="Remove containers of gone services")
        ] = False,
        scale: Annotated[list[str] | None, typer.Option("--scale", help="SERVICE=NUMBER")] = None,
        renew_anon_volumes: Annotated[bool, typer.Option("--renew-anon-volumes", "-V")] = False,
        timeout: Timeout = None,
        abort_on_container_exit: Annotated[bool, typer.Option("--abort-on-container-exit")] = False,
        exit_code_from: Annotated[str, typer.Option("--exit-code-from", help="Service whose exit code is ours")] = "",
        no_color: Annotated[bool, typer.Option("--no-color")] = False,
        no_log_prefix: Annotated[bool, typer.Option("--no-log-prefix")] = False,
        timestamps: Annotated[bool, typer.Option("--timestamps")] = False,
        quiet_pull: Annotated[bool, typer.Option("--quiet-pull")] = False,
    ) -> int:
        """Create and start containers."""
        from compose.plan.up import UpOptions

        options = UpOptions(
            services=tuple(services or ()),
            with_dependencies=not no_deps,
            force_recreate=force_recreate,
            no_recreate=no_recreate,
            always_recreate_dependencies=always_recreate_deps,
            build=build,
            no_build=no_build,
            pull=pull,
            start=not no_start,
            remove_orphans=remove_orphans,
            scale=_scale(scale or ()),
            renew_anonymous_volumes=renew_anon_volumes,
            stop_timeout_s=timeout,
        )
        common: Globals = ctx.obj
        target = common.load()
        attached = not (detach or wait or no_start)
        unchanged = bring_up(common, target, options)
        if wait:
            _wait(common, target, options.services, wait_timeout)
        if not attached:
            return 0
        from compose.cli.attached import follow_stack

        return follow_stack(
            common,
            target,
            options.services,
            unchanged=unchanged,
            abort_on_exit=abort_on_container_exit or bool(exit_code_from),
            exit_code_from=exit_code_from,
            prefix=not no_log_prefix,
            colour=False if no_color else None,
            timestamps=timestamps,
            timeout_s=timeout,
        )

    @app.command()
    def create(
        ctx: typer.Context,
        services: Services = None,
        build: Annotated[bool, typer.Option("--build")] = False,
        force_recreate: Annotated[bool, typer.Option("--force-recreate")] = False,
        remove_orphans: Annotated[bool, typer.Option("--remove-orphans")] = False,
    ) -> None:
        """Create containers, do not start them."""
        from compose.plan.up import UpOptions

        options = UpOptions(
            tuple(services or ()),
            force_recreate=force_recreate,
            build=build,
            start=False,
            remove_orphans=remove_orphans,
        )
        bring_up(ctx.obj, ctx.obj.load(), options)

    @app.command()
    def down(
        ctx: typer.Context,
        services: Services = None,
        volumes: Annotated[bool, typer.Option("--volumes", "-v", help="Remove volumes too")] = False,
        rmi: Annotated[str, typer.Option("--rmi", help="Remove images: all, or local ones only")] = "",
        remove_orphans: Annotated[bool, typer.Option("--remove-orphans")] = False,
        timeout: Timeout = None,
    ) -> None:
        """Stop and remove containers and networks."""
        from compose.execute.observe import observe
        from compose.execute.operations import Executor
        from compose.execute.runner import run
        from compose.plan.down import plan_down

        if rmi not in ("", "all", "local"):
            raise SkiffError(f'invalid value for --rmi: "{rmi}"', "write --rmi all or --rmi local")
        common: Globals = ctx.obj
        target, has_files = common.load_or_name()
        observed = observe(common.client, target)
        plan = plan_down(
            target,
            observed,
            services=tuple(services or ()),
            volumes=volumes,
            images=rmi,
            remove_orphans=remove_orphans,
            has_files=has_files,
        )
        if not plan.operations:
            print(f"Warning: No resource found to remove for project {target.name!r}.", file=sys.stderr)
        with common.display() as progress:
            executor = Executor(
                common.where, target, observed, progress, stop_timeout_s=timeout, remove_volumes=volumes
            )
            run(plan, executor.perform)

    @app.command()
    def start(ctx: typer.Context, services: Services = None) -> None:
        """Start containers that were stopped."""
        common: Globals = ctx.obj
        target, _ = common.load_or_name()
        found = common.containers(target, services or ())
        if not found:
            raise SkiffError(f"no container found for project {target.name!r}: not found", "make them: `skiff up`")

        def begin(container: Existing, progress: Progress) -> None:
            common.client.start(container.id)
            _hooks(common, target, "post_start", container, progress)

        _each(common, "start", _dependencies_first(target, [c for c in found if c.state != "running"]), begin)

    @app.command()
    def stop(ctx: typer.Context, services: Services = None, timeout: Timeout = None) -> None:
        """Stop containers, do not remove them."""
        from compose.execute.observe import observe
        from compose.execute.operations import Executor
        from compose.execute.runner import run
        from compose.plan.down import plan_stop
        from compose.plan.operations import Plan

        common: Globals = ctx.obj
        target, _ = common.load_or_name()
        found = common.containers(target, services or ())
        observed = observe(common.client, target, ())
        plan = Plan.of(plan_stop(observed, found, remove=False))
        with common.display() as progress:
            run(plan, Executor(common.where, target, observed, progress, stop_timeout_s=timeout).perform)

    @app.command()
    def restart(
        ctx: typer.Context,
        services: Services = None,
        timeout: Timeout = None,
        no_deps: Annotated[bool, typer.Option("--no-deps")] = False,
    ) -> None:
        """Restart containers."""
        common: Globals = ctx.obj
        target, _ = common.load_or_name()
        found = common.containers(target, services or ())

        def again(container: Existing, progress: Progress) -> None:
            if container.state == "running":
                _hooks(common, target, "pre_stop", container, progress)
            common.client.restart(container.id, timeout)
            _hooks(common, target, "post_start", container, progress)

        _each(common, "restart", _dependencies_first(target, found), again)

    @app.command()
    def kill(
        ctx: typer.Context,
        services: Services = None,
        signal: Annotated[str, typer.Option("--signal", "-s", help="Signal to send")] = "SIGKILL",
    ) -> None:
        """Send a signal to containers."""
        common: Globals = ctx.obj
        target, _ = common.load_or_name()
        found = [c for c in common.containers(target, services or ()) if c.state in ALIVE]
        _each(common, "kill", found, lambda container, _: common.client.kill(container.id, signal))

    @app.command()
    def pause(ctx: typer.Context, services: Services = None) -> None:
        """Freeze containers."""
        common: Globals = ctx.obj
        target, _ = common.load_or_name()
        found = [c for c in common.containers(target, services or ()) if c.state == "running"]
        _each(common, "pause", found, lambda container, _: common.client.pause(container.id))

    @app.command()
    def unpause(ctx: typer.Context, services: Services = None) -> None:
        """Let frozen containers go on."""
        common: Globals = ctx.obj
        target, _ = common.load_or_name()
        found = [c for c in common.containers(target, services or ()) if c.state == "paused"]
        _each(common, "unpause", found, lambda container, _: common.client.unpause(container.id))

    @app.command()
    def rm(
        ctx: typer.Context,
        services: Services = None,
        force: Annotated[bool, typer.Option("--force", "-f", help="Do not ask")] = False,
        stop: Annotated[bool, typer.Option("--stop", "-s", help="Stop them first")] = False,
        volumes: Annotated[bool, typer.Option("--volumes", "-v", help="Remove anonymous volumes too")] = False,
    ) -> None:
        """Remove containers that do not run."""
        common: Globals = ctx.obj
        target, _ = common.load_or_name()
        found = common.containers(target, services or ())
        chosen = [c for c in found if stop or c.state not in ALIVE]
        if not chosen:
            print("No stopped containers", file=sys.stderr)
            return
        names = ", ".join(container.name for container in chosen)
        if not force and not typer.confirm(f"Going to remove {names}. Go on?"):
            return
        _each(common, "remove", chosen, lambda c, _: common.client.remove(c.id, force=True, volumes=volumes))


def _scale(pairs: Sequence[str]) -> dict[str, int]:
    found = {}
    for pair in pairs:
        name, equals, number = pair.partition("=")
        if not equals or not number.isdigit():
            raise SkiffError(f"invalid --scale option {pair!r}", "write SERVICE=NUMBER")
        found[name] = int(number)
    return found


def bring_up(common: Globals, target: Target, options: Any) -> frozenset[str]:
    """Observe, plan, check what can be checked before anything is made, and carry the plan out.

    Returns the names of the containers that ran already as they should.
    """
    from compose.execute.observe import observe
    from compose.plan.up import orphans, plan_up

    for name, number in options.scale.items():
        if name not in target.services:
            raise SkiffError(f"no such service: {name}")
        if number > 1 and target.services[name].get("container_name"):
            raise SkiffError(f"service {name!r} can't be scaled: it has a container_name", "leave container_name out")
    observed = observe(common.client, target)
    left = orphans(target, observed)
    if left and not options.remove_orphans:
        names = ", ".join(container.name for container in left)
        print(
            f"WARN Found orphan containers ([{names}]) for this project. If you removed or renamed this service in "
            "your compose file, you can run this command with the --remove-orphans flag to clean it up.",
            file=sys.stderr,
        )
    plan = plan_up(target, observed, options)
    unchanged = frozenset(plan.unchanged)
    with common.display() as progress:
        for name in plan.unchanged:
            progress.state("Container", name, "Running")
        if not plan.operations:
            return unchanged
        _check(common, target, plan)
        from compose.execute.operations import Executor
        from compose.execute.runner import run

        run(plan, Executor(common.where, target, observed, progress, stop_timeout_s=options.stop_timeout_s).perform)
    return unchanged


def _check(common: Globals, target: Target, plan: Any) -> None:
    """Refuse what would fail halfway: host ports in use, bind sources that are not there."""
    from pathlib import Path

    from compose.plan.container_body import published_ports

    made = {operation.service for operation in plan.operations if operation.kind is Kind.CREATE}
    bindings = [port for name in made for port in published_ports(target.services[name])]
    common.client.ports_check(bindings)
    networks = {
        (declared or {}).get("name") or key: key
        for key, declared in (target.model.get("networks") or {}).items()
        if (declared or {}).get("external")
    }
    if networks:
        here = {network["Name"] for network in common.client.networks()}
        for name in networks:
            if name not in here:
                raise SkiffError(
                    f"network {name} declared as external, but could not be found",
                    f"make it: `docker network create {name}`, or take `external` away",
                )
    for name in made:
        for volume in target.services[name].get("volumes") or ():
            create = (volume.get("bind") or {}).get("create_host_path", True)
            if volume.get("type") == "bind" and create is False and not Path(volume["source"]).exists():
                raise SkiffError(
                    f"service {name!r}: the bind source does not exist: {volume['source']}",
                    "make it, or let it be made: bind: {create_host_path: true}",
                )


def _wait(common: Globals, target: Target, services: Sequence[str], timeout_s: int) -> None:
    """Wait until what is up is up to stay; what others need completed is waited for until it has completed."""
    from compose.execute.conditions import wait_completed, wait_healthy
    from compose.plan.project import dependencies
    from compose.plan.selection import select

    completing = {
        other
        for service in target.services.values()
        for other, how in dependencies(service).items()
        if how.get("condition") == "service_completed_successfully"
    }
    wanted = select(target, services)
    found = common.containers(target, wanted) if wanted else []
    staying = [container.name for container in found if container.service not in completing]
    with common.display() as progress:
        for container in found:
            progress.state("Container", container.name, "Waiting")
        for container in found:
            if container.service in completing:
                wait_completed(common.client, container.name)
                progress.state("Container", container.name, "Exited")
        wait_healthy(
            common.client,
            staying,
            timeout_s=timeout_s or None,
            tell=lambda name, state: progress.state("Container", name, state),
        )


def _dependencies_first(target: Target, containers: Sequence[Existing]) -> list[Existing]:
    from compose.plan.up import _ordered

    order = {name: number for number, name in enumerate(_ordered(target, list(target.services)))}
    return sorted(containers, key=lambda container: (order.get(container.service, 0), container.number))


def _each(
    common: Globals, kind: str, containers: Sequence[Existing], action: Callable[[Existing, Progress], object]
) -> None:
    """Do `action` to each of `containers`, and show it as steps of `kind`."""
    with common.display() as progress:
        for container in containers:
            progress.begin(kind, container.name)
            try:
                action(container, progress)
            except NotModifiedError:
                progress.end(kind, container.name)
            except BaseException:
                progress.fail(kind, container.name)
                raise
            else:
                progress.end(kind, container.name)


def _hooks(common: Globals, target: Target, phase: str, container: Existing, progress: Progress) -> None:
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
