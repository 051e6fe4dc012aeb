"""`run`: a command in a new container of a service."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from compose.events import Note
from compose.plan.one_off import RunOptions, one_off_body, one_off_target
from compose.plan.platforms import platform_of
from compose.plan.up import UpOptions
from compose.stack.up import ImageOptions, StackUp, UpRequest
from compose.stack.waiting import await_dependencies
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compose.plan.project import DesiredProject
    from compose.stack.console import Console
    from compose.stack.context import Context
    from runtime.bodies import CreateBody


@dataclass(frozen=True)
class RunRequest:
    """What to run: `options` shape the container of `service`, `images` say how its image is obtained.

    `env_files` are read here; `name` is the container's ("": made up). Unless `with_dependencies` is False, services it
    depends on are brought up first. In the background with `detach`; with `remove` the container goes once it ended.
    """

    service: str
    options: RunOptions = field(default_factory=RunOptions)
    images: ImageOptions = field(default_factory=ImageOptions)
    env_files: Sequence[str] = ()
    name: str = ""
    with_dependencies: bool = True
    detach: bool = False
    remove: bool = False
    remove_orphans: bool = False
    ignore_orphans: bool = False


@dataclass(frozen=True)
class RunResult:
    """The container that was made, and its exit code (0 while it runs in the background)."""

    id: str
    exit_code: int = 0


def run(context: Context, project: DesiredProject, request: RunRequest, console: Console) -> RunResult:
    """Run the command to its end with `console` at its streams; with `detach` return once it runs. Raises SkiffError."""
    service = request.service
    options = replace(request.options, file_environment=_files(project, request.env_files))
    slug = secrets.token_hex(32)
    usual = project.separator.join((project.name, service, "run", slug[:12]))
    special = one_off_target(project, service, request.name or usual, options, os.getcwd())
    special, how = _prepare(context, project, special, request)
    return _perform(context, special, request, one_off_body(special, service, options, slug, **how), console)


def _files(project: DesiredProject, paths: Sequence[str]) -> Mapping[str, str]:
    from compose.loading.dotenv import parse
    from compose.loading.files import read_text

    found: dict[str, str] = {}
    for path in paths:
        if not os.path.exists(path):
            raise SkiffError(f"env file {path} not found", "make it, or correct the path")
        found |= parse(read_text(path, path), path, project.environment.get)
    return found


def _prepare(
    context: Context, project: DesiredProject, special: DesiredProject, request: RunRequest
) -> tuple[DesiredProject, dict[str, Any]]:
    """Make what the container needs: dependencies up, image, networks and volumes.

    Returns `special`, the project with the service as it is to run, with the variables that providers set; and the
    arguments of `one_off_body`.
    """
    from compose.execute.files import file_mounts, make_bind_sources, security_options
    from compose.plan.project import image_name

    service = request.service
    others = [name for name in project.services[service].dependencies if name in project.services]
    if others and request.with_dependencies:
        options = UpOptions(services=others, remove_orphans=request.remove_orphans)
        stack_up = StackUp(context, project, UpRequest(options, request.images, ignore_orphans=request.ignore_orphans))
        stack_up.run()
        special = _with_new_variables(special, project, stack_up.project, service)
        await_dependencies(context, project, service)
    needing = StackUp(context, special, UpRequest(images=request.images, ignore_orphans=True))
    observed = needing.prepare_service(service)
    special = needing.project
    if context.client.endpoint.is_ours:
        make_bind_sources(special, service)
    shared = {container.service: container.id for container in reversed(observed.containers) if not container.is_oneoff}
    return special, {
        "image_id": observed.images.get(image_name(special, service), ""),
        "files": list(file_mounts(special, service)),
        "security": security_options(special, service),
        "container_of": shared,
    }


def _with_new_variables(
    special: DesiredProject, before: DesiredProject, after: DesiredProject, service: str
) -> DesiredProject:
    """Return `special` with the variables of `service` that `after` has and `before` has not."""
    had, has = (target.services[service].environment for target in (before, after))
    added = {key: value for key, value in has.items() if key not in had or had[key] != value}
    return special.with_services(special.services[service].with_environment(added))


def _perform(
    context: Context, project: DesiredProject, request: RunRequest, body: CreateBody, console: Console
) -> RunResult:
    """Create the container and run it."""
    from compose.execute.content import inject
    from compose.execute.hooks import POST_START, run_hooks

    client, service = context.client, request.service
    name = project.services[service].container_name
    id = client.create_container(body, name=name, platform=platform_of(project, request.service))["Id"]

    def begin() -> None:
        client.start(id)
        run_hooks(
            client,
            project.services[service].hooks(POST_START),
            POST_START,
            id,
            name,
            lambda line: context.emit(Note(line)),
        )

    try:
        inject(client, project, service, id)
        if request.detach:
            begin()
            return RunResult(id)
        takes_input = bool(body["OpenStdin"])
        resize: Callable[[int, int], None] | None = None
        if body["Tty"]:

            def resize(rows: int, columns: int) -> None:
                client.resize(id, rows, columns)

        with (
            client.attach(id, stdin=int(takes_input), stdout=1, stderr=1) as stream,
            console.signals_to(lambda signal: client.kill(id, signal)),
        ):
            begin()
            console.converse(stream, takes_input=takes_input, resize=resize)
        return RunResult(id, client.wait(id))
    finally:
        if request.remove and not request.detach:
            client.remove(id, force=True, volumes=True)
