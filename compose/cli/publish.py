"""`publish`: pushes the project's files to a registry."""

from __future__ import annotations

from typing import Annotated

import typer

from compose.cli.context import Globals
from compose.cli.options import Yes
from runtime.errors import SkiffError


def publish(
    ctx: typer.Context,
    repository: Annotated[str, typer.Argument(metavar="REPOSITORY[:TAG]")],
    resolve_image_digests: Annotated[
        bool, typer.Option("--resolve-image-digests", help="Pin images to digests")
    ] = False,
    oci_version: Annotated[
        str, typer.Option("--oci-version", help="Version of the OCI image specification: 1.0, 1.1 or what is taken")
    ] = "",
    with_env: Annotated[bool, typer.Option("--with-env", help="Publish variables of the environment, too")] = False,
    yes: Yes = False,
    app: Annotated[bool, typer.Option("--app", help="Refused: images are not copied")] = False,
) -> None:
    """Push the project's files to a registry, where others can run them from."""
    from compose.plan.artifact import VERSIONS
    from compose.stack.publish import PublishRequest
    from compose.stack.publish import publish as publish_project

    if oci_version not in ("", *VERSIONS):
        raise SkiffError(f'unsupported OCI version "{oci_version}"', f"write one of {', '.join(VERSIONS)}")
    if app:
        raise SkiffError("publish --app is not supported: images are not copied", "images are pushed by their names")
    common: Globals = ctx.obj
    request = PublishRequest(repository, oci_version, resolve_image_digests, with_env, yes)
    publish_project(common.context(), common.loader, request)
