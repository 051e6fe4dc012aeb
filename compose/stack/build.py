"""`build`: the images of services that have a `build`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from compose.events import work
from compose.execute.build_flags import BuildFlags
from compose.plan.selection import select
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.plan.project import DesiredProject
    from compose.stack.context import Context


@dataclass(frozen=True)
class BuildServicesRequest:
    """Which services' images to build (none named: all), with those of dependencies where that is wanted.

    `arguments` are NAME=VALUE, or the NAME of a variable of the project or of the caller. With `push` the images are
    pushed once they are built.
    """

    services: Sequence[str] = ()
    with_dependencies: bool = False
    arguments: Sequence[str] = ()
    options: BuildFlags = field(default_factory=BuildFlags)
    push: bool = False


def build(context: Context, project: DesiredProject, request: BuildServicesRequest) -> dict[str, str]:
    """Build the images and return their IDs by name, in a dry run their names. Raises SkiffError."""
    from compose.execute.observe import observe
    from compose.plan.images import plan_builds

    names = select(project, request.services, with_dependencies=request.with_dependencies)
    options = replace(request.options, arguments=_arguments(context, project, request.arguments))
    plan = plan_builds(project, names)
    if not plan.operations:
        context.warn("No services to build")
    with work(context.emit):
        executor = context.executor(project, observe(context.client, project, ()), build=options)
        context.run(plan, executor)
        if request.push:
            from compose.stack.push import push_images

            push_images(context, project, names, ignore_failures=False)
    return {operation.name: executor.images.get(operation.name, operation.name) for operation in plan.operations}


def check(context: Context, project: DesiredProject, request: BuildServicesRequest) -> Iterator[tuple[str, bool]]:
    """Yield what builds would warn of, line by line, and whether that is a failure; nothing is built.

    Raises SkiffError.
    """
    from compose.execute.build import build_image
    from compose.plan.images import plan_builds

    names = select(project, request.services, with_dependencies=request.with_dependencies)
    options = replace(request.options, arguments=_arguments(context, project, request.arguments), check=True)
    operations = plan_builds(project, names).operations
    if not operations:
        context.warn("No services to build")
    for operation in operations:
        lines: list[str] = []
        problem = None
        try:
            build_image(context.client, project, operation.service, lines.append, options)
        except SkiffError as error:
            problem = error
        yield from ((f"{operation.service}: {line}", False) for line in lines)
        if problem is not None:
            yield f"{operation.service}: {problem}", True


def bake(context: Context, project: DesiredProject, request: BuildServicesRequest) -> dict[str, Any]:
    """Return the builds as a bake file (buildx, "Bake file reference")."""
    from compose.plan.bake import bake_file

    return bake_file(
        project,
        select(project, request.services, with_dependencies=request.with_dependencies),
        arguments=_arguments(context, project, request.arguments),
        ssh=request.options.ssh,
        pull=request.options.pull,
        no_cache=request.options.no_cache,
        push=request.push,
    )


def _arguments(context: Context, project: DesiredProject, pairs: Sequence[str]) -> Mapping[str, str | None]:
    """Return build arguments by name; None: the engine knows the value, or nobody does."""
    given: dict[str, str | None] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        given[name] = value if equals else project.environment.get(name, context.environ.get(name))
    return given
