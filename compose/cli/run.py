"""`run`: runs a command in a new container of a service."""

from __future__ import annotations

from typing import Annotated

import typer

from compose.cli.context import Globals
from compose.cli.options import (
    Interactive,
    List,
    NoDeps,
    NoTty,
    QuietPull,
    RemoveOrphans,
    Service,
    Tty,
    checked_policy,
    orphan_options,
)
from runtime.errors import SkiffError


def run(
    ctx: typer.Context,
    service: Service,
    command: Annotated[List, typer.Argument(help="Override the service's command")] = None,
    rm: Annotated[bool, typer.Option("--rm", help="Remove the container afterwards")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background")] = False,
    no_tty: NoTty = False,
    tty: Tty = False,
    interactive: Interactive = True,
    env: Annotated[List, typer.Option("--env", "-e", help="NAME=VALUE, or NAME of a variable here")] = None,
    env_from_file: Annotated[List, typer.Option("--env-from-file", help="File of variables")] = None,
    label: Annotated[List, typer.Option("--label", "--labels", "-l", help="KEY=VALUE")] = None,
    volume: Annotated[List, typer.Option("--volume", "--volumes", "-v", help="SOURCE:TARGET")] = None,
    publish: Annotated[List, typer.Option("--publish", "-p", help="[HOST:]CONTAINER")] = None,
    service_ports: Annotated[bool, typer.Option("--service-ports", "-P", help="Publish the service's ports")] = False,
    no_deps: NoDeps = False,
    entrypoint: Annotated[str | None, typer.Option("--entrypoint", help="Override the service's entrypoint")] = None,
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
    use_aliases: Annotated[bool, typer.Option("--use-aliases", help="Use the service's network aliases")] = False,
    remove_orphans: RemoveOrphans = None,
) -> int:
    """Run a command in a new container of a service."""
    from compose.cli.terminal import TerminalConsole, has_terminal
    from compose.plan.one_off import RunOptions
    from compose.stack.run import RunRequest
    from compose.stack.run import run as run_service
    from compose.stack.up import ImageOptions

    common: Globals = ctx.obj
    if publish and service_ports:
        raise SkiffError("--service-ports and --publish are incompatible", "leave one of them out")
    common.refuse_dry_run("run")
    if tty and interactive and not detach and not has_terminal():
        raise SkiffError("the input device is not a TTY", "leave --tty out where input does not come from a terminal")
    project = common.load([service])
    options = RunOptions(
        command=command or (),
        entrypoint=entrypoint,
        environment=env or (),
        labels=label or (),
        ports=publish or (),
        service_ports=service_ports,
        volumes=volume or (),
        user=user,
        working_directory=workdir,
        cap_add=cap_add or (),
        cap_drop=cap_drop or (),
        use_aliases=use_aliases,
        tty=not no_tty and not detach and interactive and has_terminal(),
        interactive=interactive,
        auto_remove=rm and detach,
    )
    removes, ignores = orphan_options(common, remove_orphans)
    request = RunRequest(
        service,
        options,
        ImageOptions(build, pull=checked_policy(pull), quiet_pull=quiet_pull, quiet_build=quiet_build),
        env_files=env_from_file or (),
        name=name,
        with_dependencies=not no_deps,
        detach=detach,
        remove=rm,
        remove_orphans=removes,
        ignore_orphans=ignores,
    )
    result = run_service(common.context(quiet=quiet), project, request, TerminalConsole())
    if detach:
        print(result.id)
    return result.exit_code
