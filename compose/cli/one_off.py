"""run: a command in a new container of a service."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from compose.cli.context import Globals
from compose.cli.up import NoDeps, QuietPull, RemoveOrphans, checked_policy, orphan_manners
from compose.plan.project import DesiredProject
from runtime.errors import SkiffError

PASS_ON = {"allow_interspersed_args": False}
List = list[str] | None


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(context_settings=PASS_ON)
    def run(
        ctx: typer.Context,
        service: str,
        command: Annotated[List, typer.Argument(help="Command in place of the service's")] = None,
        rm: Annotated[bool, typer.Option("--rm", help="Remove the container afterwards")] = False,
        detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background")] = False,
        no_tty: Annotated[bool, typer.Option("--no-tty", "--no-TTY", "-T", help="No terminal")] = False,
        tty: Annotated[bool, typer.Option("--tty", "-t", hidden=True)] = False,
        interactive: Annotated[
            bool, typer.Option("--interactive/--no-interactive", "-i/-I", help="Give it our standard input")
        ] = True,
        env: Annotated[List, typer.Option("--env", "-e", help="NAME=VALUE, or NAME of a variable here")] = None,
        env_from_file: Annotated[List, typer.Option("--env-from-file", help="File of variables")] = None,
        label: Annotated[List, typer.Option("--label", "-l", help="KEY=VALUE")] = None,
        volume: Annotated[List, typer.Option("--volume", "-v", help="SOURCE:TARGET")] = None,
        publish: Annotated[List, typer.Option("--publish", "-p", help="[HOST:]CONTAINER")] = None,
        service_ports: Annotated[
            bool, typer.Option("--service-ports", "-P", help="Publish the service's ports")
        ] = False,
        no_deps: NoDeps = False,
        entrypoint: Annotated[str | None, typer.Option("--entrypoint", help="In place of the service's")] = None,
        name: Annotated[str, typer.Option("--name", help="Name of the container")] = "",
        user: Annotated[str, typer.Option("--user", "-u", help="User, or user ID")] = "",
        workdir: Annotated[str, typer.Option("--workdir", "-w", help="Directory to run in")] = "",
        cap_add: Annotated[List, typer.Option("--cap-add", help="Capability to add")] = None,
        cap_drop: Annotated[List, typer.Option("--cap-drop", help="Capability to drop")] = None,
        build: Annotated[bool, typer.Option("--build", help="Build the image first")] = False,
        pull: Annotated[str, typer.Option("--pull", help="always, missing or never")] = "policy",
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no steps")] = False,
        quiet_build: Annotated[bool, typer.Option("--quiet-build", help="Build without showing it")] = False,
        quiet_pull: QuietPull = False,
        use_aliases: Annotated[bool, typer.Option("--use-aliases", help="Answer to the service's names")] = False,
        remove_orphans: RemoveOrphans = None,
    ) -> int:
        """Run a command in a new container of a service."""
        from compose.cli.stack import ImageOptions
        from compose.plan.one_off import RunOptions, one_off_body, one_off_target

        common: Globals = ctx.obj
        if publish and service_ports:
            raise SkiffError("--service-ports and --publish are incompatible", "leave one of them out")
        common.refuse_dry_run("run")
        if quiet:
            common.progress = "quiet"
        target = common.load([service])
        has_terminal = not no_tty and not detach and interactive and sys.stdin.isatty() and sys.stdout.isatty()
        options = RunOptions(
            command=command or (),
            entrypoint=entrypoint,
            environment=env or (),
            file_environment=_files(target, env_from_file or ()),
            labels=label or (),
            ports=publish or (),
            service_ports=service_ports,
            volumes=volume or (),
            user=user,
            working_directory=workdir,
            cap_add=cap_add or (),
            cap_drop=cap_drop or (),
            use_aliases=use_aliases,
            tty=has_terminal,
            interactive=interactive and not detach,
            auto_remove=rm and detach,
        )
        slug = secrets.token_hex(32)
        usual = target.separator.join((target.name, service, "run", slug[:12]))
        special = one_off_target(target, service, name or usual, options, os.getcwd())
        images = ImageOptions(build, pull=checked_policy(pull), quiet_pull=quiet_pull, quiet_build=quiet_build)
        special, how = _prepare(common, target, special, service, images, remove_orphans, with_dependencies=not no_deps)
        body = one_off_body(special, service, options, slug, **how)
        return _perform(common, special, service, body, detach=detach, removes=rm)


def _files(target: DesiredProject, paths: list[str] | tuple[()]) -> Mapping[str, str]:
    from compose.spec.dotenv import parse
    from compose.spec.files import read_text

    found: dict[str, str] = {}
    for path in paths:
        if not os.path.exists(path):
            raise SkiffError(f"env file {path} not found", "make it, or correct the path")
        found |= parse(read_text(path, path), path, target.environment.get)
    return found


def _prepare(
    common: Globals,
    target: DesiredProject,
    special: DesiredProject,
    service: str,
    images: Any,
    remove_orphans: bool | None,
    *,
    with_dependencies: bool,
) -> tuple[DesiredProject, dict[str, Any]]:
    """Make what a one-off needs: dependencies up, image, networks and volumes.

    Returns `special` with what providers told it, and how its body is to be made.
    """
    from compose.cli.stack import StackUp, UpBehavior
    from compose.execute.files import file_mounts, security_options
    from compose.plan.project import dependencies, image_name
    from compose.plan.up import UpOptions

    removes, ignores = orphan_manners(common, remove_orphans)
    others = [name for name in dependencies(target.services[service]) if name in target.services]
    stack_up = StackUp(common, target, images, UpBehavior(ignore_orphans=ignores))
    if others and with_dependencies:
        stack_up.run(UpOptions(services=others, remove_orphans=removes))
        special = _told_as(special, target, stack_up.target, service)
        _await_dependencies(common, target, service)
    needing = StackUp(common, special, images, UpBehavior(ignore_orphans=True))
    observed, special = needing.prepare_service(service), needing.target
    shared = {container.service: container.id for container in reversed(observed.containers) if not container.is_oneoff}
    return special, {
        "image_id": observed.images.get(image_name(special, service), ""),
        "files": list(file_mounts(special, service)),
        "security": security_options(special, service),
        "container_of": shared,
    }


def _told_as(special: DesiredProject, before: DesiredProject, after: DesiredProject, service: str) -> DesiredProject:
    """Return `special` with the variables that `service` has got between `before` and `after`."""
    from compose.plan.providing import with_services

    had, has = (target.services[service].get("environment") or {} for target in (before, after))
    told = {key: value for key, value in has.items() if key not in had or had[key] != value}
    one = special.services[service]
    changed = {**one, "environment": {**(one.get("environment") or {}), **told}}
    return with_services(special, {**special.services, service: changed})


def _await_dependencies(common: Globals, target: DesiredProject, service: str) -> None:
    from compose.execute.conditions import wait_completed, wait_healthy
    from compose.plan.project import dependencies

    for other, how in dependencies(target.services[service]).items():
        names = [container.name for container in common.containers(target, [other])] if other in target.services else []
        try:
            if how.get("condition") == "service_healthy":
                wait_healthy(common.client, names, needs_check=True)
            elif how.get("condition") == "service_completed_successfully":
                for name in names:
                    wait_completed(common.client, name)
        except SkiffError:
            if how.get("required", True):
                raise


def _perform(
    common: Globals, target: DesiredProject, service: str, body: dict[str, Any], *, detach: bool, removes: bool
) -> int:
    """Make the container, run it to its end and return its exit code; in the background, name it and return."""
    from compose.cli.terminal import exchange, raw_terminal, signals_to
    from compose.execute.content import inject
    from compose.execute.hooks import POST_START, run_hooks

    client = common.client
    name = target.services[service]["container_name"]
    id = client.create_container(body, name=name)["Id"]

    def begin() -> None:
        client.start(id)
        run_hooks(client, target.services[service], POST_START, id, name, lambda line: print(line, file=sys.stderr))

    try:
        inject(client, target, service, id)
        if detach:
            begin()
            print(id)
            return 0
        takes_input = bool(body["OpenStdin"])
        with (
            client.attach(id, stdin=int(takes_input), stdout=1, stderr=1) as stream,
            signals_to(lambda number: client.kill(id, signal.Signals(number).name)),
        ):
            begin()
            with raw_terminal((lambda rows, columns: client.resize(id, rows, columns)) if body["Tty"] else None):
                exchange(stream, takes_input=takes_input)
        return client.wait(id)
    finally:
        if removes and not detach:
            client.remove(id, force=True, volumes=True)
