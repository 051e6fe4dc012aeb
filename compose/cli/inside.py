"""exec, run, cp: into the containers of a stack."""

from __future__ import annotations

import io
import os
import secrets
import sys
import tarfile
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from compose.cli.context import Globals
from compose.plan.project import Target
from runtime.errors import NotFoundError, SkiffError

PASS_ON = {"allow_interspersed_args": False, "ignore_unknown_options": False}


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command("exec", context_settings=PASS_ON)
    def exec_(
        ctx: typer.Context,
        service: str,
        command: Annotated[list[str], typer.Argument(help="Command and its arguments")],
        detach: Annotated[bool, typer.Option("--detach", "-d")] = False,
        no_tty: Annotated[bool, typer.Option("--no-tty", "-T", help="No terminal")] = False,
        env: Annotated[list[str] | None, typer.Option("--env", "-e")] = None,
        user: Annotated[str, typer.Option("--user", "-u")] = "",
        workdir: Annotated[str, typer.Option("--workdir", "-w")] = "",
        index: Annotated[int, typer.Option("--index")] = 0,
        privileged: Annotated[bool, typer.Option("--privileged")] = False,
    ) -> int:
        """Run a command in a container that runs."""
        common: Globals = ctx.obj
        target, _ = common.load_or_name()
        container = common.one_container(target, service, index)
        tty = not no_tty and not detach and sys.stdin.isatty() and sys.stdout.isatty()
        client = common.client
        id = client.exec_create(
            container.id,
            {
                "Cmd": command,
                "Env": env or [],
                "User": user,
                "WorkingDir": workdir,
                "Tty": tty,
                "Privileged": privileged,
                "AttachStdin": not detach,
                "AttachStdout": not detach,
                "AttachStderr": not detach,
            },
        )
        if detach:
            client.exec_detached(id)
            return 0
        from compose.cli.terminal import exchange, raw_terminal

        with (
            client.exec_start(id, tty=tty) as stream,
            raw_terminal((lambda rows, columns: client.exec_resize(id, rows, columns)) if tty else None),
        ):
            exchange(stream, takes_input=True)
        return int(client.exec_inspect(id)["ExitCode"] or 0)

    @app.command(context_settings=PASS_ON)
    def run(
        ctx: typer.Context,
        service: str,
        command: Annotated[list[str] | None, typer.Argument(help="Command in place of the service's")] = None,
        rm: Annotated[bool, typer.Option("--rm", help="Remove the container afterwards")] = False,
        detach: Annotated[bool, typer.Option("--detach", "-d")] = False,
        no_tty: Annotated[bool, typer.Option("--no-TTY", "-T", help="No terminal")] = False,
        env: Annotated[list[str] | None, typer.Option("--env", "-e")] = None,
        volume: Annotated[list[str] | None, typer.Option("--volume", "-v")] = None,
        publish: Annotated[list[str] | None, typer.Option("--publish", "-p")] = None,
        service_ports: Annotated[bool, typer.Option("--service-ports", "-P")] = False,
        no_deps: Annotated[bool, typer.Option("--no-deps")] = False,
        entrypoint: Annotated[str | None, typer.Option("--entrypoint")] = None,
        name: Annotated[str, typer.Option("--name")] = "",
        user: Annotated[str, typer.Option("--user", "-u")] = "",
        workdir: Annotated[str, typer.Option("--workdir", "-w")] = "",
        build: Annotated[bool, typer.Option("--build")] = False,
        use_aliases: Annotated[bool, typer.Option("--use-aliases")] = False,
    ) -> int:
        """Run a command in a new container of a service."""
        common: Globals = ctx.obj
        target = common.load()
        _provide(common, target, service, with_dependencies=not no_deps, build=build)
        tty = not no_tty and not detach and sys.stdin.isatty() and sys.stdout.isatty()
        body = _oneoff_body(common, target, service)
        if command:
            body["Cmd"] = command
        if entrypoint is not None:
            import shlex

            body["Entrypoint"] = shlex.split(entrypoint) or [""]
            body["Cmd"] = command or []
        body["Env"] = [*body.get("Env", ()), *(e if "=" in e else f"{e}={os.environ.get(e, '')}" for e in env or ())]
        body["Tty"], body["OpenStdin"], body["StdinOnce"] = tty, not detach, not detach
        body |= {key: value for key, value in (("User", user), ("WorkingDir", workdir)) if value}
        host = body["HostConfig"]
        host["AutoRemove"] = rm and detach
        host["RestartPolicy"] = {"Name": "no"}
        host["Binds"] = [_absolute(one) for one in volume or ()]
        if not service_ports:
            host["PortBindings"] = {}
        for one in publish or ():
            _publish(body, one)
        if not use_aliases:
            for settings in (body.get("NetworkingConfig") or {}).get("EndpointsConfig", {}).values():
                settings["Aliases"] = []
        from compose.execute.content import inject

        client = common.client
        chosen = name or f"{target.name}-{service}-run-{secrets.token_hex(6)}"
        id = client.create_container(body, name=chosen)["Id"]
        try:
            inject(client, target, service, id)
            if detach:
                client.start(id)
                print(id)
                return 0
            from compose.cli.terminal import exchange, raw_terminal

            with client.attach(id, stdin=1, stdout=1, stderr=1) as stream:
                client.start(id)
                with raw_terminal((lambda rows, columns: client.resize(id, rows, columns)) if tty else None):
                    exchange(stream, takes_input=True)
            return client.wait(id)
        finally:
            if rm and not detach:
                client.remove(id, force=True, volumes=True)

    @app.command()
    def cp(
        ctx: typer.Context,
        source: Annotated[str, typer.Argument(help="PATH, or SERVICE:PATH")],
        destination: Annotated[str, typer.Argument(help="PATH, or SERVICE:PATH")],
        index: Annotated[int, typer.Option("--index")] = 0,
    ) -> None:
        """Copy files between a container and here."""
        common: Globals = ctx.obj
        target, _ = common.load_or_name()
        service, path = _split(source)
        other, other_path = _split(destination)
        if bool(service) == bool(other):
            raise SkiffError("one of source and destination is SERVICE:PATH, the other a path here")
        client = common.client
        if service:
            container = common.one_container(target, service, index)
            data = io.BytesIO(b"".join(client.archive_get(container.id, path)))
            with tarfile.open(fileobj=data) as tar:
                _unpack(tar, os.path.basename(path.rstrip("/")), other_path)
        else:
            container = common.one_container(target, other, index)
            client.archive_put(
                container.id, *_packed(source, other_path, _is_directory(client, container.id, other_path))
            )


def _split(text: str) -> tuple[str, str]:
    service, colon, path = text.partition(":")
    return (service, path) if colon and "/" not in service and service else ("", text)


def _is_directory(client: Any, id: str, path: str) -> bool:
    try:
        next(iter(client.archive_get(id, path.rstrip("/") + "/.")), None)
    except NotFoundError:
        return False
    return True


def _packed(source: str, path: str, is_directory: bool) -> tuple[str, Iterator[bytes]]:
    folder, name = (path, os.path.basename(source.rstrip("/"))) if is_directory else os.path.split(path.rstrip("/"))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.add(source, arcname=name)
    return folder or "/", iter((out.getvalue(),))


def _unpack(tar: tarfile.TarFile, name: str, destination: str) -> None:
    into = destination if os.path.isdir(destination) else os.path.dirname(os.path.abspath(destination))
    wanted = name if os.path.isdir(destination) else os.path.basename(destination)
    # by attribute: Debian 12's Python knows no `filter=` yet
    tar.extraction_filter = getattr(tarfile, "tar_filter", None)
    for member in tar:
        first, slash, rest = member.name.partition("/")
        member.name = (wanted if first == name else first) + slash + rest
        tar.extract(member, into)


def _absolute(volume: str) -> str:
    source, colon, rest = volume.partition(":")
    return f"{os.path.abspath(source)}:{rest}" if colon and source.startswith((".", "~")) else volume


def _publish(body: dict[str, Any], text: str) -> None:
    spec, _, protocol = text.partition("/")
    parts = spec.rsplit(":", 2)
    key = f"{parts[-1]}/{protocol or 'tcp'}"
    binding = {"HostIp": parts[0] if len(parts) == 3 else "", "HostPort": parts[-2] if len(parts) > 1 else ""}
    body["HostConfig"].setdefault("PortBindings", {}).setdefault(key, []).append(binding)
    body.setdefault("ExposedPorts", {})[key] = {}


def _provide(common: Globals, target: Target, service: str, *, with_dependencies: bool, build: bool) -> None:
    """Make what a one-off needs: its image, networks and volumes, and its dependencies up."""
    from compose.cli.lifecycle import bring_up
    from compose.plan.project import dependencies
    from compose.plan.selection import select
    from compose.plan.up import UpOptions

    select(target, [service])
    others = [name for name in dependencies(target.services[service]) if name in target.services]
    if others and with_dependencies:
        bring_up(common, target, UpOptions(services=others))
        _await_dependencies(common, target, service)
    from compose.execute.observe import observe
    from compose.execute.operations import Executor
    from compose.execute.runner import run
    from compose.plan.operations import Kind, Plan
    from compose.plan.up import plan_up

    observed = observe(common.client, target)
    plan = plan_up(target, observed, UpOptions([service], with_dependencies=False, build=build, start=False))
    wanted = (Kind.CREATE_NETWORK, Kind.CREATE_VOLUME, Kind.PULL, Kind.BUILD)
    chosen = Plan.of([operation for operation in plan.operations if operation.kind in wanted])
    with common.display() as progress:
        run(chosen, Executor(common.where, target, observed, progress).perform)


def _await_dependencies(common: Globals, target: Target, service: str) -> None:
    from compose.execute.conditions import wait_completed, wait_healthy
    from compose.plan.project import dependencies

    for other, how in dependencies(target.services[service]).items():
        names = [container.name for container in common.containers(target, [other])] if other in target.services else []
        if how.get("condition") == "service_healthy":
            wait_healthy(common.client, names, needs_check=True)
        elif how.get("condition") == "service_completed_successfully":
            for name in names:
                wait_completed(common.client, name)


def _oneoff_body(common: Globals, target: Target, service: str) -> dict[str, Any]:
    from compose.execute.observe import observe
    from compose.execute.operations import Executor
    from compose.plan.container_body import container_body
    from compose.plan.project import image_name

    observed = observe(common.client, target)
    executor = Executor(common.where, target, observed, common.display(quiet=True))
    shared = {container.service: container.id for container in reversed(observed.containers)}
    return container_body(
        target,
        service,
        1,
        image_id=observed.images.get(image_name(target, service), ""),
        oneoff=True,
        files=list(executor.files(service)),
        container_of=shared,
    )
