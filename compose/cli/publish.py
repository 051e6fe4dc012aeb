"""publish: the project as an artifact in a registry, which `-f oci://NAME` reads."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compose.cli.context import Globals
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.plan.artifact import Layer
    from compose.spec import Project


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
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
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Answer every question with yes")] = False,
        app: Annotated[bool, typer.Option("--app", hidden=True)] = False,
    ) -> None:
        """Push the project's files to a registry, where others can run them from."""
        from compose.cli.build import push_images
        from compose.execute.artifacts import publish
        from compose.plan.artifact import VERSIONS

        if oci_version not in ("", *VERSIONS):
            raise SkiffError(f'unsupported OCI version "{oci_version}"', f"write one of {', '.join(VERSIONS)}")
        if app:
            raise SkiffError(
                "publish --app is not supported: images are not copied", "images are pushed by their names"
            )
        common: Globals = ctx.obj
        common.profiles = ("*",)
        project = common.project(resolve_environment=False)
        model = project.model()
        layers = list(_layers(project, with_env=with_env))
        if not _may_publish(project, model, layers, with_env=with_env, assume_yes=yes):
            return
        target = common.load()
        with common.display() as progress:
            push_images(common, target, list(target.services), progress, ignore_failures=True)
            if resolve_image_digests:
                layers.append(_digests(common, model))
            progress.state("Artifact", repository, "Publishing")
            if not common.dry_run:
                publish(common.client, repository, layers, oci_version)
            progress.state("Artifact", repository, "Published")


def _layers(project: Project, *, with_env: bool) -> Iterator[Layer]:
    """Yield the files that go along. Raises ConfigError."""
    from compose.plan.artifact import ENV_FILE, Layer
    from compose.spec.packing import packed

    extended: dict[str, str] = {}
    env_files: dict[str, str] = {}
    waiting = [(os.path.basename(file), file, project.working_directory, False) for file in project.files]
    while waiting:
        name, file, folder, is_extended = waiting.pop(0)
        found = packed(file, folder, project.environment.get)
        yield Layer(name, found.content, is_extended=is_extended)
        env_files |= found.env_files
        new = {key: path for key, path in found.extended.items() if key not in extended}
        extended |= new
        waiting += [(key, path, os.path.dirname(path), True) for key, path in new.items()]
    for name, path in env_files.items() if with_env else ():
        if os.path.isfile(path):
            with open(path, "rb") as data:
                yield Layer(name, data.read(), ENV_FILE)


def _digests(common: Globals, model: Mapping[str, Any]) -> Layer:
    """Return the override file that pins images."""
    from compose.cli.digests import digest, resolved
    from compose.plan.artifact import Layer
    from compose.render.yaml_text import yaml_text

    pinned = resolved(model, lambda name: digest(common.client, name))["services"]
    images = {name: {"image": service["image"]} for name, service in pinned.items() if service.get("image")}
    return Layer("image-digests.yaml", yaml_text({"services": images}).encode())


def _may_publish(
    project: Project, model: Mapping[str, Any], layers: list[Layer], *, with_env: bool, assume_yes: bool
) -> bool:
    """Whether nothing speaks against publishing, or the user lets it. Raises SkiffError for what never goes."""
    services = model["services"]
    unnamed = [name for name, service in services.items() if service.get("build") and not service.get("image")]
    if unnamed:
        raise SkiffError(
            "your Compose stack cannot be published as it only contains a build section for service(s): "
            + ", ".join(f'"{name}"' for name in unnamed),
            "give them an `image`, under which what is built is pushed",
        )
    variables = _variables(model)
    if variables and not with_env:
        raise SkiffError(
            "\n".join(f"{what} has environment variable(s) declared." for what in variables)
            + "\nTo avoid leaking sensitive data, you must either explicitly allow the sending of environment variables by "
            "using the --with-env flag,\nor remove sensitive data from your Compose configuration",
        )
    binds = [
        f"{name}: {volume['source']}:{volume['target']}"
        for name, service in services.items()
        for volume in service.get("volumes") or ()
        if volume.get("type") == "bind"
    ]
    questions = (
        (
            "you are about to publish bind mounts declaration within your OCI artifact.\n"
            "only the bind mount declarations will be added to the OCI artifact (not content)\n"
            "please double check that you are not mounting potential user's sensitive directories or data",
            binds,
            "Are you ok to publish these bind mount declarations?",
        ),
        (
            "you are about to publish sensitive data within your OCI artifact.\n"
            "please double check that you are not leaking sensitive data",
            list(_sensitive(project, model, layers)),
            "Are you ok to publish these sensitive data?",
        ),
        (
            "you are about to publish environment variables within your OCI artifact.\n"
            "please double check that you are not leaking sensitive data",
            [f"{what}: {', '.join(found)}" for what, found in variables.items()],
            "Are you ok to publish these environment variables?",
        ),
    )
    return all(_is_allowed(*question, assume_yes=assume_yes) for question in questions if question[1])


def _variables(model: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the variables that would be published, by what has them."""
    found = {}
    for name, service in model["services"].items():
        given = service.get("environment") or {}
        files = [str(each.get("path")) for each in service.get("env_file") or () if isinstance(each, Mapping)]
        if given or files:
            found[f'service "{name}"'] = [*(f"{key}={value}" for key, value in given.items()), *files]
    for name, config in (model.get("configs") or {}).items():
        if (config or {}).get("environment"):
            found[f'config "{name}"'] = [config["environment"]]
    return found


def _sensitive(project: Project, model: Mapping[str, Any], layers: list[Layer]) -> Iterator[str]:
    from compose.plan.sensitive import findings

    texts = {layer.name: layer.content for layer in layers}
    for kind in ("configs", "secrets"):
        for declared in (model.get(kind) or {}).values():
            path = (declared or {}).get("file")
            if path and os.path.isfile(path):
                with open(path, "rb") as file:
                    texts[path] = file.read()
    for name, content in texts.items():
        for found in findings(content.decode(errors="replace")):
            yield f"{found.kind}: {name}:{found.line}: {found.text}"


def _is_allowed(about: str, found: list[str], question: str, *, assume_yes: bool) -> bool:
    """Ask the user. Raises SkiffError when nobody is there to answer."""
    if assume_yes:
        return True
    print("\n".join([about, *found]), file=sys.stderr)
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        raise SkiffError("nothing was published: nobody confirmed it", "--yes publishes without asking") from None
