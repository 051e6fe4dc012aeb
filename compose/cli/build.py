"""build, pull, push: the images of a stack."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from compose.cli.context import Globals
from compose.plan.project import image_name
from compose.plan.selection import select
from runtime.errors import SkiffError

Services = Annotated[list[str] | None, typer.Argument(help="Services; all when none is named")]


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command()
    def build(
        ctx: typer.Context,
        services: Services = None,
        no_cache: Annotated[bool, typer.Option("--no-cache", help="Run every step")] = False,
        pull: Annotated[bool, typer.Option("--pull", help="Pull base images anew")] = False,
        build_arg: Annotated[list[str] | None, typer.Option("--build-arg", help="NAME=VALUE")] = None,
        quiet: Annotated[bool, typer.Option("--quiet", "-q")] = False,
    ) -> None:
        """Build images."""
        import os

        from compose.execute.build import build_image

        common: Globals = ctx.obj
        target = common.load()
        given: dict[str, str | None] = {}
        for pair in build_arg or ():
            name, equals, value = pair.partition("=")
            given[name] = value if equals else os.environ.get(name)
        with common.display(quiet) as progress:
            for service in select(target, services or (), with_dependencies=False):
                if not target.services[service].get("build"):
                    continue
                image = image_name(target, service)

                def tell(line: str, service: str = service, image: str = image) -> None:
                    progress.output("build", image, service, line)

                progress.begin("build", image)
                try:
                    build_image(common.client, target, service, tell, no_cache=no_cache, pull=pull, arguments=given)
                except BaseException:
                    progress.fail("build", image)
                    raise
                progress.end("build", image)

    @app.command()
    def pull(
        ctx: typer.Context,
        services: Services = None,
        ignore_pull_failures: Annotated[bool, typer.Option("--ignore-pull-failures")] = False,
        quiet: Annotated[bool, typer.Option("--quiet", "-q")] = False,
    ) -> None:
        """Pull images."""
        common: Globals = ctx.obj
        target = common.load()
        with common.display(quiet) as progress:
            for service in select(target, services or (), with_dependencies=False):
                if target.services[service].get("build") and not target.services[service].get("image"):
                    continue
                image = image_name(target, service)
                progress.begin("pull", image)
                try:
                    for _ in common.client.pull(image):
                        pass
                except SkiffError as error:
                    progress.fail("pull", image)
                    if not ignore_pull_failures:
                        raise
                    progress.line(f"WARN {error}")
                    continue
                progress.end("pull", image)

    @app.command()
    def push(ctx: typer.Context, services: Services = None) -> None:
        """Push images that services build."""
        common: Globals = ctx.obj
        target = common.load()
        for service in select(target, services or (), with_dependencies=False):
            if target.services[service].get("build") and target.services[service].get("image"):
                for message in common.client.push(image_name(target, service)):
                    if message.get("status"):
                        print(f" {service} | {message['status']}", file=sys.stderr)
