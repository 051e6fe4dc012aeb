"""`publish`: the project as an artifact in a registry, which `-f oci://NAME` reads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compose.events import StateChanged, work
from compose.stack.context import Question, UnansweredError
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.loading import Project
    from compose.plan.artifact import Layer
    from compose.stack.context import Context
    from compose.stack.source import Loader

EVERY_PROFILE = ("*",)


@dataclass(frozen=True)
class PublishRequest:
    """The artifact to push: REPOSITORY[:TAG], and a version of the OCI image specification ("": 1.1, else 1.0).

    With `pins_digests` a further file pins images to digests. `with_env` publishes variables of the environment as
    well, `assume_yes` asks no question.
    """

    repository: str
    oci_version: str = ""
    pins_digests: bool = False
    with_env: bool = False
    assume_yes: bool = False


def publish(context: Context, loader: Loader, request: PublishRequest) -> bool:
    """Push the project's files, once nothing speaks against it; return False when the user said no. Raises SkiffError."""
    from compose.execute.artifacts import publish as push_artifact
    from compose.stack.push import push_images

    project = loader.project(profiles=EVERY_PROFILE, resolve_environment=False)
    model = project.model()
    layers = list(_layers(project, with_env=request.with_env))
    if not _may_publish(context, project, model, layers, request):
        return False
    target = loader.load(profiles=EVERY_PROFILE)
    with work(context.emit):
        push_images(context, target, list(target.services), ignore_failures=True)
        if request.pins_digests:
            layers.append(_digests(context, model))
        context.emit(StateChanged("Artifact", request.repository, "Publishing"))
        if not context.dry_run:
            push_artifact(context.client, request.repository, layers, request.oci_version)
        context.emit(StateChanged("Artifact", request.repository, "Published"))
    return True


def _layers(project: Project, *, with_env: bool) -> Iterator[Layer]:
    """Yield the files that go along. Raises ConfigError."""
    from compose.loading.packing import packed
    from compose.plan.artifact import ENV_FILE, Layer

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


def _digests(context: Context, model: Mapping[str, Any]) -> Layer:
    """Return the override file that pins images."""
    from compose.loading.yaml_text import yaml_text
    from compose.plan.artifact import Layer
    from compose.stack.digests import digest, resolved

    pinned = resolved(model, lambda name: digest(context.client, name))["services"]
    images = {name: {"image": service["image"]} for name, service in pinned.items() if service.get("image")}
    return Layer("image-digests.yaml", yaml_text({"services": images}).encode())


def _may_publish(
    context: Context, project: Project, model: Mapping[str, Any], layers: list[Layer], request: PublishRequest
) -> bool:
    """Whether nothing speaks against publishing, or the user allows it. Raises SkiffError for what is never allowed."""
    services = model["services"]
    unnamed = [name for name, service in services.items() if service.get("build") and not service.get("image")]
    if unnamed:
        raise SkiffError(
            "your Compose stack cannot be published as it only contains a build section for service(s): "
            + ", ".join(f'"{name}"' for name in unnamed),
            "give them an `image`, under which what is built is pushed",
        )
    variables = _variables(model, layers)
    if variables and not request.with_env:
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
    if request.assume_yes:
        return True
    return all(_is_allowed(context, *question) for question in questions if question[1])


def _variables(model: Mapping[str, Any], layers: list[Layer]) -> dict[str, list[str]]:
    """Return the variables that would be published, by what has them."""
    from compose.loading.packing import literal_variables
    from compose.plan.artifact import COMPOSE_FILE

    found: dict[str, list[str]] = {}
    for layer in layers:
        for name, variable in literal_variables(layer.content, layer.name) if layer.media_type == COMPOSE_FILE else ():
            found.setdefault(f'service "{name}"', []).append(variable)
    for name, service in model["services"].items():
        if files := [str(each.get("path")) for each in service.get("env_file") or () if isinstance(each, Mapping)]:
            found.setdefault(f'service "{name}"', []).extend(files)
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


def _is_allowed(context: Context, about: str, found: list[str], question: str) -> bool:
    """Ask the user. Raises SkiffError when nobody is there to answer."""
    try:
        return context.ask(Question(question, details="\n".join([about, *found])))
    except UnansweredError:
        raise SkiffError("nothing was published: nobody confirmed it", "--yes publishes without asking") from None
