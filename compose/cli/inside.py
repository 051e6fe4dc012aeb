"""exec, attach, cp, commit, export: into the containers of a stack, and out of them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from typing import Annotated

import typer

from compose.cli.context import Globals
from runtime.errors import SkiffError

PASS_ON = {"allow_interspersed_args": False}
Index = Annotated[int, typer.Option("--index", help="Number of the service's container")]


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command("exec", context_settings=PASS_ON)
    def exec_(
        ctx: typer.Context,
        service: str,
        command: Annotated[list[str], typer.Argument(help="Command and its arguments")],
        detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background")] = False,
        no_tty: Annotated[bool, typer.Option("--no-tty", "--no-TTY", "-T", help="No terminal")] = False,
        tty: Annotated[bool, typer.Option("--tty", "-t", hidden=True)] = False,
        interactive: Annotated[
            bool, typer.Option("--interactive/--no-interactive", "-i/-I", help="Give it our standard input")
        ] = True,
        env: Annotated[list[str] | None, typer.Option("--env", "-e", help="NAME=VALUE")] = None,
        user: Annotated[str, typer.Option("--user", "-u", help="User, or user ID")] = "",
        workdir: Annotated[str, typer.Option("--workdir", "-w", help="Directory to run in")] = "",
        index: Index = 0,
        privileged: Annotated[bool, typer.Option("--privileged", help="With all capabilities")] = False,
    ) -> int:
        """Run a command in a container that runs."""
        from compose.cli.terminal import exchange, raw_terminal

        common: Globals = ctx.obj
        common.refuse_dry_run("exec")
        target, _ = common.load_or_name([service])
        container = common.one_container(target, service, index)
        has_terminal = not no_tty and not detach and interactive and sys.stdin.isatty() and sys.stdout.isatty()
        client = common.client
        id = client.exec_create(
            container.id,
            {
                "Cmd": command,
                "Env": [_variable(each, target.environment or os.environ) for each in env or ()],
                "User": user,
                "WorkingDir": workdir,
                "Tty": has_terminal,
                "Privileged": privileged,
                "AttachStdin": interactive and not detach,
                "AttachStdout": not detach,
                "AttachStderr": not detach,
            },
        )
        if detach:
            client.exec_detached(id)
            return 0
        with (
            client.exec_start(id, tty=has_terminal) as stream,
            raw_terminal((lambda rows, columns: client.exec_resize(id, rows, columns)) if has_terminal else None),
        ):
            exchange(stream, takes_input=interactive)
        return int(client.exec_inspect(id)["ExitCode"] or 0)

    @app.command()
    def attach(
        ctx: typer.Context,
        service: str,
        index: Index = 0,
        no_stdin: Annotated[bool, typer.Option("--no-stdin", help="Do not give it our standard input")] = False,
        sig_proxy: Annotated[
            bool, typer.Option("--sig-proxy/--no-sig-proxy", help="Pass signals on to the process")
        ] = True,
        detach_keys: Annotated[str, typer.Option("--detach-keys", help="Keys that let go of the container")] = "",
    ) -> int:
        """Attach to the streams of a container that runs."""
        from contextlib import nullcontext

        from compose.cli.terminal import exchange, raw_terminal, signals_to

        common: Globals = ctx.obj
        common.refuse_dry_run("attach")
        target, _ = common.load_or_name([service])
        client = common.client
        id = common.one_container(target, service, index).id
        config = client.container(id)["Config"]
        takes_input = bool(config["OpenStdin"]) and not no_stdin
        query = {"detachKeys": detach_keys} if detach_keys else {}
        has_terminal = bool(config["Tty"]) and takes_input
        proxied = (
            signals_to(lambda number: client.kill(id, signal.Signals(number).name)) if sig_proxy else nullcontext()
        )
        with (
            client.attach(id, stdin=int(takes_input), stdout=1, stderr=1, **query) as stream,
            proxied,
            raw_terminal((lambda rows, columns: client.resize(id, rows, columns)) if has_terminal else None),
        ):
            exchange(stream, takes_input=takes_input)
        state = client.container(id)["State"]
        return 0 if state["Running"] else int(state["ExitCode"])

    @app.command()
    def cp(
        ctx: typer.Context,
        source: Annotated[str, typer.Argument(help="PATH, SERVICE:PATH, or - for a tar archive from standard input")],
        destination: Annotated[
            str, typer.Argument(help="PATH, SERVICE:PATH, or - for a tar archive to standard output")
        ],
        index: Index = 0,
        archive: Annotated[bool, typer.Option("--archive", "-a", help="Keep owners")] = False,
        follow_link: Annotated[bool, typer.Option("--follow-link", "-L", help="Follow a link at SOURCE")] = False,
        all: Annotated[bool, typer.Option("--all", help="One-offs of the service, too")] = False,
    ) -> None:
        """Copy files between containers and here."""
        from compose.cli.copying import copy_in, copy_out, split

        common: Globals = ctx.obj
        service, path = split(source)
        other, other_path = split(destination)
        if bool(service) == bool(other):
            raise SkiffError(
                "copying between services is not supported" if service else "unknown copy direction",
                "one of source and destination is SERVICE:PATH, the other a path here",
            )
        target, _ = common.load_or_name([service or other])
        if service:
            container = common.one_container(target, service, index, running=False)
            with common.display() as progress, progress.step("copy", container.name):
                if not common.dry_run:
                    copy_out(common.client, container.id, path, other_path, follow_link=follow_link)
            return
        found = [c for c in common.containers(target, [other], oneoff=all) if not index or c.number == index]
        if not found:
            raise SkiffError(f'no container found for service "{other}"', f"make it: `skiff up -d {other}`")
        with common.display() as progress:
            for container in found:
                with progress.step("copy", container.name):
                    if not common.dry_run:
                        copy_in(common.client, container.id, path, other_path, follow_link=follow_link, owners=archive)

    @app.command()
    def commit(
        ctx: typer.Context,
        service: str,
        image: Annotated[str, typer.Argument(metavar="REPOSITORY[:TAG]")] = "",
        author: Annotated[str, typer.Option("--author", "-a", help="Author")] = "",
        change: Annotated[list[str] | None, typer.Option("--change", "-c", help="Dockerfile instruction")] = None,
        message: Annotated[str, typer.Option("--message", "-m", help="Comment")] = "",
        pause: Annotated[bool, typer.Option("--pause/--no-pause", "-p", help="Freeze the container meanwhile")] = True,
        index: Index = 0,
    ) -> None:
        """Make an image of a container's changes."""
        common: Globals = ctx.obj
        target, _ = common.load_or_name([service])
        container = common.one_container(target, service, index, running=False)
        repository, _, tag = image.rpartition(":") if ":" in image.rpartition("/")[2] else (image, "", "")
        with common.display() as progress, progress.step("commit", container.name):
            if not common.dry_run:
                query = {"repo": repository, "tag": tag, "author": author, "comment": message, "pause": int(pause)}
                print(common.client.commit(container.id, changes=list(change or ()), **query))

    @app.command()
    def export(
        ctx: typer.Context,
        service: str,
        output: Annotated[str, typer.Option("--output", "-o", help="File; standard output when left out")] = "",
        index: Index = 0,
    ) -> None:
        """Write a container's filesystem as a tar archive."""
        from compose.cli.copying import write_whole

        common: Globals = ctx.obj
        target, _ = common.load_or_name([service])
        container = common.one_container(target, service, index, running=False)
        if not output and sys.stdout.isatty():
            raise SkiffError("output option is required when exporting to terminal", "write --output FILE")
        with common.display() as progress, progress.step("export", container.name):
            if not common.dry_run:
                write_whole(common.client.export(container.id), output)


def _variable(entry: str, environment: Mapping[str, str]) -> str:
    """Return a variable as the engine takes it: one without a value has that of `environment`, or is taken away."""
    if entry.startswith("="):
        raise SkiffError(f"invalid environment variable: {entry}", "write -e NAME=VALUE, or -e NAME")
    return entry if "=" in entry or entry not in environment else f"{entry}={environment[entry]}"
