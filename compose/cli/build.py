"""build, pull, push: the images of a stack."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from compose.cli.context import Globals
from compose.cli.up import Services
from compose.plan.project import DesiredProject
from compose.render.progress import Progress
from runtime.errors import SkiffError

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but errors")]
IncludeDeps = Annotated[bool, typer.Option("--include-deps", help="Images of dependencies, too")]


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command()
    def build(
        ctx: typer.Context,
        services: Services = None,
        no_cache: Annotated[bool, typer.Option("--no-cache", help="Run every step")] = False,
        pull: Annotated[bool, typer.Option("--pull", help="Pull base images anew")] = False,
        build_arg: Annotated[list[str] | None, typer.Option("--build-arg", help="NAME=VALUE")] = None,
        memory: Annotated[str, typer.Option("--memory", "-m", help="Limit of memory of a step")] = "",
        push: Annotated[bool, typer.Option("--push", help="Push the images then")] = False,
        with_dependencies: Annotated[
            bool, typer.Option("--with-dependencies", help="Images of dependencies, too")
        ] = False,
        quiet: Quiet = False,
        ssh: Annotated[
            list[str] | None, typer.Option("--ssh", help="SSH agents that steps may use: default, or ID=SOCKET")
        ] = None,
        print_: Annotated[bool, typer.Option("--print", help="Show the builds as a bake file, and end")] = False,
        check: Annotated[bool, typer.Option("--check", hidden=True)] = False,
        builder: Annotated[str, typer.Option("--builder", hidden=True)] = "",
        provenance: Annotated[str, typer.Option("--provenance", hidden=True)] = "",
        sbom: Annotated[str, typer.Option("--sbom", hidden=True)] = "",
        # given up by docker compose, yet in scripts
        compress: Annotated[bool, typer.Option("--compress", hidden=True)] = False,
        force_rm: Annotated[bool, typer.Option("--force-rm", hidden=True)] = False,
        no_rm: Annotated[bool, typer.Option("--no-rm", hidden=True)] = False,
        parallel: Annotated[bool, typer.Option("--parallel", hidden=True)] = True,
        progress: Annotated[str, typer.Option("--progress", hidden=True)] = "",
    ) -> None:
        """Build images."""
        from compose.execute.build import BuildOptions
        from compose.execute.observe import observe
        from compose.execute.operations import Executor
        from compose.execute.runner import run
        from compose.plan.bake import bake_file
        from compose.plan.images import plan_builds
        from compose.plan.selection import select
        from compose.spec.values import size_bytes

        _refuse(check, builder, {"provenance": provenance, "sbom": sbom})
        common: Globals = ctx.obj
        common.progress = progress or common.progress
        target = common.load(services or ())
        names = select(target, services or (), with_dependencies=with_dependencies)
        try:
            limit = size_bytes(memory) if memory else 0
        except ValueError as error:
            raise SkiffError(f"--memory: {error}", "write 512m, 1g") from None
        arguments = _arguments(target, build_arg or ())
        if print_:
            bake = bake_file(target, names, arguments=arguments, ssh=ssh or (), pull=pull, no_cache=no_cache, push=push)
            print(json.dumps(bake, indent=2, ensure_ascii=False))
            return
        options = BuildOptions(no_cache, pull, quiet, limit, arguments, tuple(ssh or ()))
        plan = plan_builds(target, names)
        if not plan.operations:
            print("No services to build", file=sys.stderr)
        with common.display(quiet) as shown:
            executor = Executor(
                common.where,
                target,
                observe(common.client, target, ()),
                shown,
                build=options,
                dry_run=common.dry_run,
            )
            run(plan, executor.perform, common.limit())
            if push:
                push_images(common, target, names, shown, ignore_failures=False)
            elif quiet:
                for operation in plan.operations:
                    print(executor.images.get(operation.name, operation.name))

    @app.command()
    def pull(
        ctx: typer.Context,
        services: Services = None,
        ignore_pull_failures: Annotated[
            bool, typer.Option("--ignore-pull-failures", help="Pull what can be pulled, and go on")
        ] = False,
        ignore_buildable: Annotated[bool, typer.Option("--ignore-buildable", help="Not what can be built")] = False,
        include_deps: IncludeDeps = False,
        policy: Annotated[str, typer.Option("--policy", help="missing or always")] = "",
        quiet: Quiet = False,
        parallel: Annotated[bool, typer.Option("--parallel", hidden=True)] = True,
        no_parallel: Annotated[bool, typer.Option("--no-parallel", hidden=True)] = False,
    ) -> None:
        """Pull images."""
        if policy not in ("", "missing", "always"):
            raise SkiffError(f'invalid --policy option "{policy}"', "write missing or always")
        common: Globals = ctx.obj
        target = common.load(services or ())
        with common.display(quiet) as progress:
            _pull(
                common,
                target,
                _selected(target, services or (), include_deps),
                progress,
                policy=policy,
                ignore_failures=ignore_pull_failures,
                ignore_buildable=ignore_buildable,
            )

    @app.command()
    def push(
        ctx: typer.Context,
        services: Services = None,
        ignore_push_failures: Annotated[
            bool, typer.Option("--ignore-push-failures", help="Push what can be pushed, and go on")
        ] = False,
        include_deps: IncludeDeps = False,
        quiet: Quiet = False,
    ) -> None:
        """Push images that services build."""
        common: Globals = ctx.obj
        target = common.load(services or ())
        with common.display(quiet) as progress:
            names = _selected(target, services or (), include_deps)
            push_images(common, target, names, progress, ignore_failures=ignore_push_failures)


def _refuse(check: bool, builder: str, attestations: Mapping[str, str]) -> None:
    """Raise SkiffError for flags that mean work of buildx, which is not there."""
    if check:
        raise SkiffError(
            "build --check needs buildx, whose linter it calls", "leave it out: `build` tells what is wrong"
        )
    if builder not in ("", "default"):
        raise SkiffError(f'no builder "{builder}" found: builders are of buildx', "leave --builder out")
    for name, value in attestations.items():
        if value.lower() not in ("", "false", "0"):
            raise SkiffError(f"build --{name}: attestations are not made", f"leave it out, or write --{name}=false")


def _selected(target: DesiredProject, services: Sequence[str], with_dependencies: bool) -> list[str]:
    from compose.plan.selection import select

    return select(target, services, with_dependencies=with_dependencies)


def _arguments(target: DesiredProject, pairs: Sequence[str]) -> dict[str, str | None]:
    given: dict[str, str | None] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        given[name] = value if equals else target.environment.get(name, os.environ.get(name))
    return given


def _pull(
    common: Globals,
    target: DesiredProject,
    names: Sequence[str],
    progress: Progress,
    *,
    policy: str,
    ignore_failures: bool,
    ignore_buildable: bool,
) -> None:
    """Pull what the services `names` run, at once. Raises SkiffError for the first that can't be had and not be built."""
    from compose.execute.observe import observe
    from compose.execute.operations import Executor
    from compose.execute.runner import run
    from compose.plan.images import plan_pulls
    from compose.plan.operations import Operation

    observed = observe(common.client, target, names)
    plan, skipped = plan_pulls(target, observed, names, policy=policy, ignore_buildable=ignore_buildable)
    for image, why in skipped.items():
        progress.state("Image", image, f"Skipped - {why}")
    executor = Executor(common.where, target, observed, progress, dry_run=common.dry_run)
    failures: dict[str, SkiffError] = {}

    def perform(operation: Operation) -> None:
        try:
            executor.perform(operation)
        except SkiffError as error:
            failures[operation.service] = error

    run(plan, perform, common.limit())
    built = [name for name in failures if target.services[name].get("build")]
    if built:
        progress.line(
            f"WARN Some service image(s) must be built from source by running:\n    skiff build {' '.join(built)}"
        )
    for name, error in failures.items():
        if ignore_failures:
            progress.line(f"WARN {error}")
        elif name not in built:
            raise error


def push_images(
    common: Globals, target: DesiredProject, names: Sequence[str], progress: Progress, *, ignore_failures: bool
) -> None:
    """Push what the services `names` build and give a name. Raises SkiffError for the first that fails."""
    pushed: set[str] = set()
    for name in names:
        service = target.services[name]
        image = service.get("image")
        if not service.get("build") or not image:
            progress.state("Image", image or name, "Skipped")
            continue
        for wanted in (image, *(service["build"].get("tags") or ())):
            if wanted in pushed:
                continue
            pushed.add(wanted)
            try:
                with progress.step("push", wanted):
                    for message in () if common.dry_run else common.client.push(wanted):
                        if message.get("status") and message.get("id"):
                            progress.output("push", wanted, name, f"{message['id']}: {message['status']}")
            except SkiffError as error:
                if not ignore_failures:
                    raise
                progress.line(f"WARN {error}")
