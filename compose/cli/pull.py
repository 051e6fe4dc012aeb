"""`pull`: pulls images."""

from __future__ import annotations

from typing import Annotated

import typer

from compose.cli.context import Globals
from compose.cli.flags import NO_EFFECT
from compose.cli.options import IncludeDeps, Quiet, Services
from runtime.errors import SkiffError


def pull(
    ctx: typer.Context,
    services: Services = None,
    ignore_pull_failures: Annotated[
        bool, typer.Option("--ignore-pull-failures", help="Continue when an image can't be pulled")
    ] = False,
    ignore_buildable: Annotated[bool, typer.Option("--ignore-buildable", help="Skip images that can be built")] = False,
    include_deps: IncludeDeps = False,
    policy: Annotated[str, typer.Option("--policy", help="missing or always")] = "",
    quiet: Quiet = False,
    parallel: Annotated[bool, typer.Option("--parallel", help=NO_EFFECT)] = True,
    no_parallel: Annotated[bool, typer.Option("--no-parallel", help=NO_EFFECT)] = False,
) -> None:
    """Pull images."""
    from compose.stack.pull import PullRequest
    from compose.stack.pull import pull as pull_images

    if policy not in ("", "missing", "always"):
        raise SkiffError(f'invalid --policy option "{policy}"', "write missing or always")
    common: Globals = ctx.obj
    project = common.load(services, makes_containers=False)
    request = PullRequest(services or (), include_deps, policy, ignore_pull_failures, ignore_buildable)
    pull_images(common.context(quiet=quiet), project, request)
