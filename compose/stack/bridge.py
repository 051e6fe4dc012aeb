"""`bridge`: the model of a project goes through transformer images, which write files for other platforms.

A transformer is a container that reads /in/compose.yaml, and templates in /templates, and writes into /out.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compose.events import HookPrinted, step, work
from compose.stack.context import Question
from runtime.errors import NotFoundError, SkiffError

if TYPE_CHECKING:
    from compose.plan.project import DesiredProject
    from compose.stack.context import Context
    from runtime.bodies import HostConfig

LABEL, TRANSFORMATION = "com.docker.compose.bridge", "transformation"
DEFAULT_IMAGE = "docker/compose-bridge-kubernetes"
TEMPLATES = "/templates"
DOCKERFILE = f"""FROM docker/compose-bridge-transformer
LABEL {LABEL}={TRANSFORMATION}
COPY templates /templates
"""
FOLDER_MODE = 0o744


@dataclass(frozen=True)
class ConvertRequest:
    """Where files are written (`output`), which images write them (none named: docker's own), and their templates."""

    output: str = "out"
    templates: str = ""
    transformations: Sequence[str] = ()


def convert(context: Context, project: DesiredProject, request: ConvertRequest) -> None:
    """Run the transformers one after the other. Raises SkiffError for the first that fails."""
    from compose.loading.yaml_text import yaml_text

    text = yaml_text(_with_resources(context, project))
    _prepare(context, request.output)
    with tempfile.TemporaryDirectory(prefix="compose-convert-") as folder:
        Path(folder, "compose.yaml").write_text(text)
        # the transformer runs as the user who calls, who owns the folder
        binds = [f"{folder}:/in", f"{os.path.abspath(request.output)}:/out"]
        if request.templates:
            binds.append(f"{os.path.abspath(request.templates)}:{TEMPLATES}")
        for image in request.transformations or (DEFAULT_IMAGE,):
            _transform(context, image, binds)


def create_transformation(context: Context, path: str, image: str = "") -> str:
    """Write the templates of `image` (docker's own where it is "") and a Dockerfile to `path`; return where they are.

    Raises SkiffError for a folder that exists, and an image without templates.
    """
    from compose.stack.copying import copy_out

    out = os.path.abspath(path)
    if os.path.exists(out):
        raise SkiffError(f"output folder {out} already exists", "name another, or remove it")
    image = image or DEFAULT_IMAGE
    _obtain(context, image)
    id = context.client.create_container({"Image": image})["Id"]
    try:
        Path(out).mkdir(FOLDER_MODE, parents=True)
        copy_out(context.client, id, TEMPLATES, out, follow_link=False)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    finally:
        context.client.remove(id, force=True)
    Path(out, "Dockerfile").write_text(DOCKERFILE)
    return out


def transformations(context: Context) -> list[dict[str, Any]]:
    """Return the images of the engine that are transformers, as its list shows them."""
    return context.client.images({"label": [f"{LABEL}={TRANSFORMATION}"]})


def _transform(context: Context, image: str, binds: Sequence[str]) -> None:
    _obtain(context, image)
    client = context.client
    host: HostConfig = {"Binds": list(binds)}
    id = client.create_container(
        {"Image": image, "Env": ["LICENSE_AGREEMENT=true"], "User": str(os.getuid()), "HostConfig": host}
    )["Id"]
    rest = b""
    try:
        client.start(id)
        with client.logs(id, follow=1) as stream:
            for _, data in stream.frames():
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    context.emit(HookPrinted(line.decode(errors="replace")))
        if rest:
            context.emit(HookPrinted(rest.decode(errors="replace")))
        code = client.wait(id)
    finally:
        client.remove(id, force=True, volumes=True)
    if code:
        raise SkiffError(f"the transformer {image} exited with code {code}", "its output is above")


def _obtain(context: Context, image: str) -> dict[str, Any]:
    """Return an image of the engine, pulled where it is not there."""
    try:
        return context.client.image(image)
    except NotFoundError:
        with work(context.emit), step(context.emit, "pull", image):
            for _ in context.client.pull(image):
                pass
        return context.client.image(image)


def _prepare(context: Context, output: str) -> None:
    """Have an empty folder at `output`; what is in it is deleted where the user says so."""
    try:
        if os.path.isdir(output) and os.listdir(output):
            text = f"Output directory '{output}' is not empty, all its content will be permanently deleted. Continue?"
            if not context.ask(Question(text, is_optional=True)):
                raise SkiffError(f"deletion of output directory '{output}' was not confirmed", "name another: --output")
            shutil.rmtree(output)
        os.makedirs(output, FOLDER_MODE, exist_ok=True)
    except OSError as error:
        raise SkiffError(f"{output} can't be written: {error.strerror}", "name another directory: --output") from error


def _with_resources(context: Context, project: DesiredProject) -> dict[str, Any]:
    """Return the project's model with what transformers need: images, all ports, the content of configs and secrets."""
    from compose.plan.project import image_name

    services = {}
    for name, service in project.services.items():
        image = image_name(project, name)
        document = {key: value for key, value in service.document.items() if value is not None}
        exposed = {str(port) for port in document.get("expose") or ()} | {port.target for port in service.ports}
        config = (_own_image(context, image, name) if not service.image else _obtain(context, image)).get(
            "Config"
        ) or {}
        exposed |= {port.partition("/")[0] for port in config.get("ExposedPorts") or ()}
        services[name] = {**document, "image": image, **({"expose": sorted(exposed)} if exposed else {})}
    files = {
        kind: {key: {**(each or {}), **_content(project, kind, key)} for key, each in project.section(kind).items()}
        for kind in ("configs", "secrets")
        if project.section(kind)
    }
    return {**project.model, "services": services, **files}


def _own_image(context: Context, image: str, service: str) -> dict[str, Any]:
    try:
        return context.client.image(image)
    except NotFoundError:
        context.warn(
            f"WARN image {image} for service {service} not found locally; Dockerfile-exposed ports will not be included"
        )
        return {}


def _content(project: DesiredProject, kind: str, key: str) -> dict[str, str]:
    declared = project.file(kind, key)
    if (kind, key) in project.values:
        return {"content": project.values[kind, key]}
    if not declared.file or declared.is_external:
        return {}
    try:
        return {"content": Path(declared.file).read_text()}
    except (OSError, UnicodeDecodeError) as error:
        raise SkiffError(
            f"the file of {kind[:-1]} {key!r} can't be read: {declared.file}", "correct the path"
        ) from error
