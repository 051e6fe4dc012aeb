"""`build`: builds images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated

import typer

from compose.cli.context import Globals
from compose.cli.flags import NO_EFFECT
from compose.cli.options import Quiet, Services
from runtime.errors import SkiffError


def build(
    ctx: typer.Context,
    services: Services = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Run every step")] = False,
    pull: Annotated[bool, typer.Option("--pull", help="Pull base images even if they are here")] = False,
    build_arg: Annotated[list[str] | None, typer.Option("--build-arg", help="NAME=VALUE")] = None,
    memory: Annotated[str, typer.Option("--memory", "-m", help="Memory limit of each step")] = "",
    push: Annotated[bool, typer.Option("--push", help="Push the images after building")] = False,
    with_dependencies: Annotated[bool, typer.Option("--with-dependencies", help="Images of dependencies, too")] = False,
    quiet: Quiet = False,
    ssh: Annotated[
        list[str] | None, typer.Option("--ssh", help="SSH agents or keys that steps may use: default, or ID=PATH")
    ] = None,
    with_host_ca: Annotated[
        bool, typer.Option("--with-host-ca", help="Steps trust this machine's CA certificates, and have its proxies")
    ] = False,
    print_: Annotated[bool, typer.Option("--print", help="Print the builds as a bake file and exit")] = False,
    check: Annotated[bool, typer.Option("--check", help="Report what builds would warn of, and build nothing")] = False,
    builder: Annotated[str, typer.Option("--builder", help="default: builders are of buildx")] = "",
    provenance: Annotated[str, typer.Option("--provenance", help="false: nothing is attested here")] = "",
    sbom: Annotated[str, typer.Option("--sbom", help="false, as --provenance")] = "",
    # docker compose has dropped these, but scripts still use them
    compress: Annotated[bool, typer.Option("--compress", help=NO_EFFECT)] = False,
    force_rm: Annotated[bool, typer.Option("--force-rm", help=NO_EFFECT)] = False,
    no_rm: Annotated[bool, typer.Option("--no-rm", help=NO_EFFECT)] = False,
    parallel: Annotated[bool, typer.Option("--parallel", help=NO_EFFECT)] = True,
    progress: Annotated[str, typer.Option("--progress", help="As the global --progress")] = "",
) -> None:
    """Build images."""
    from compose.execute.build_flags import BuildFlags
    from compose.stack.build import BuildServicesRequest, bake
    from compose.stack.build import build as build_images
    from compose.stack.build import check as check_builds
    from compose.units import size_bytes

    _refuse(builder, {"provenance": provenance, "sbom": sbom})
    common: Globals = ctx.obj
    common.progress = progress or common.progress
    project = common.load(services, makes_containers=False)
    try:
        limit_bytes = size_bytes(memory) if memory else 0
    except ValueError as error:
        raise SkiffError(f"--memory: {error}", "write 512m, 1g") from None
    options = BuildFlags(no_cache, pull, quiet, limit_bytes, ssh=tuple(ssh or ()), host_ca=with_host_ca)
    request = BuildServicesRequest(services or (), with_dependencies, build_arg or (), options, push)
    context = common.context(quiet=quiet)
    if print_:
        print(json.dumps(bake(context, project, request), indent=2, ensure_ascii=False))
        return
    if check:
        found = list(check_builds(context, project, request))
        for line, _ in found:
            print(line)
        raise typer.Exit(int(any(is_failure for _, is_failure in found)))
    built = build_images(context, project, request)
    if quiet and not push:
        for id in built.values():
            print(id)


def _refuse(builder: str, attestations: Mapping[str, str]) -> None:
    """Raise SkiffError for flags that mean work of buildx, which is not there."""
    if builder not in ("", "default"):
        raise SkiffError(f'no builder "{builder}" found: builders are of buildx', "leave --builder out")
    for name, value in attestations.items():
        if value.lower() not in ("", "false", "0"):
            raise SkiffError(f"build --{name}: attestations are not made", f"leave it out, or write --{name}=false")
