"""`plan`: shows what `up` would change, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from compose.cli.context import Globals
from compose.cli.options import (
    Build,
    ForceRecreate,
    NoBuild,
    NoDeps,
    NoRecreate,
    Pull,
    RemoveOrphans,
    Rerun,
    Scale,
    Services,
    checked_policy,
    exclude,
    orphan_options,
    scales,
)
from runtime.errors import SkiffError

CHANGES = 2


def plan(
    ctx: typer.Context,
    services: Services = None,
    build: Build = False,
    no_build: NoBuild = False,
    pull: Pull = "policy",
    force_recreate: ForceRecreate = False,
    no_recreate: NoRecreate = False,
    no_deps: NoDeps = False,
    remove_orphans: RemoveOrphans = None,
    scale: Scale = None,
    rerun: Rerun = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 2 when something would change")] = False,
    format: Annotated[str, typer.Option("--format", help="text or json: an object a line")] = "text",
) -> int:
    """Show what `up` would change, and why; change nothing.

    Contents count as well: of configs, secrets and single files that are mounted. A file that the container may write
    is taken for its data if it is empty, binary, larger than 1 MiB, or a log or database by its name.
    """
    from compose.go_json import go_json
    from compose.plan.up import UpOptions
    from compose.render.progress import change_line
    from compose.stack.plan import planned
    from compose.stack.up import ImageOptions, UpRequest

    common: Globals = ctx.obj
    if format not in ("text", "json"):
        raise SkiffError(f'format value "{format}" could not be parsed', "write text or json")
    exclude(
        ("--build", build, "--no-build", no_build),
        ("--force-recreate", force_recreate, "--no-recreate", no_recreate),
    )
    project = common.load(services)
    removes, _ = orphan_options(common, remove_orphans)
    options = UpOptions(
        services=tuple(services or ()),
        with_dependencies=not no_deps,
        force_recreate=force_recreate,
        no_recreate=no_recreate,
        remove_orphans=removes,
        scale=scales(scale or ()),
        rerun=rerun,
    )
    request = UpRequest(options, ImageOptions(build, no_build, checked_policy(pull)))
    is_change = False
    for change in planned(common.context(), project, request):
        is_change |= not change.action.startswith("not ")
        shown = {"Subject": change.subject, "Reason": change.reason, "Action": change.action}
        print(go_json(shown) if format == "json" else change_line(change))
    if not is_change and format == "text":
        print("Nothing would change.")
    return CHANGES if exit_code and is_change else 0
