"""`push`: pushes images that services build."""

from __future__ import annotations

from typing import Annotated

import typer

from compose.cli.context import Globals
from compose.cli.options import IncludeDeps, Quiet, Services


def push(
    ctx: typer.Context,
    services: Services = None,
    ignore_push_failures: Annotated[
        bool, typer.Option("--ignore-push-failures", help="Continue when an image can't be pushed")
    ] = False,
    include_deps: IncludeDeps = False,
    quiet: Quiet = False,
) -> None:
    """Push images that services build."""
    from compose.stack.push import PushRequest
    from compose.stack.push import push as push_images

    common: Globals = ctx.obj
    project = common.load(services, makes_containers=False)
    request = PushRequest(services or (), include_deps, ignore_push_failures)
    push_images(common.context(quiet=quiet), project, request)
