"""`create`: creates containers without starting them."""

from __future__ import annotations

import typer

from compose.cli.context import Globals
from compose.cli.options import (
    Build,
    ForceRecreate,
    NoBuild,
    NoRecreate,
    Pull,
    QuietPull,
    RemoveOrphans,
    Scale,
    Services,
    Yes,
    checked_policy,
    exclude,
    orphan_options,
    scales,
)


def create(
    ctx: typer.Context,
    services: Services = None,
    build: Build = False,
    no_build: NoBuild = False,
    pull: Pull = "policy",
    quiet_pull: QuietPull = False,
    force_recreate: ForceRecreate = False,
    no_recreate: NoRecreate = False,
    remove_orphans: RemoveOrphans = None,
    scale: Scale = None,
    yes: Yes = False,
) -> None:
    """Create containers, do not start them."""
    from compose.plan.up import UpOptions
    from compose.stack.up import ImageOptions, UpRequest, up

    common: Globals = ctx.obj
    exclude(
        ("--build", build, "--no-build", no_build),
        ("--force-recreate", force_recreate, "--no-recreate", no_recreate),
    )
    project = common.load(services)
    removes, ignores = orphan_options(common, remove_orphans)
    options = UpOptions(
        tuple(services or ()),
        force_recreate=force_recreate,
        no_recreate=no_recreate,
        start=False,
        remove_orphans=removes,
        scale=scales(scale or ()),
    )
    images = ImageOptions(build, no_build, checked_policy(pull), quiet_pull)
    up(common.context(), project, UpRequest(options, images, assume_yes=yes, ignore_orphans=ignores))
