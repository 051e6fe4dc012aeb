"""Routes of images."""

from __future__ import annotations

import base64
import json
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from runtime import bodies
from runtime.api import pruning, versions
from runtime.api.request import Request, line
from runtime.engine import filters
from runtime.errors import (
    BadRequestError,
    BodyTooLargeError,
    EngineError,
    NotFoundError,
    RequestTimeoutError,
    SkiffError,
)
from runtime.image.reference import registry_domain
from runtime.space import disk_full_error
from runtime.streaming import Send, Source

if TYPE_CHECKING:
    from runtime.engine.engine import Engine


async def list_(engine: Engine, request: Request) -> None:
    """Answer "List images"."""
    rows = engine.image_api.list(filters.parse(request.text("filters")))
    if request.flag("shared-size"):
        shared = engine.image_api.shared_bytes()
        rows = [{**row, "SharedSize": shared[row["Id"]]} for row in rows]
    users = Counter(container.image_id for container in engine.containers.table)
    await request.answer(200, versions.image_rows(rows, users, request.version))


async def attestations(engine: Engine, request: Request) -> None:
    """Answer "Get an image's attestations": none are kept with an image here. Since version 1.55."""
    if request.version < (1, 55):
        raise NotFoundError("page not found")
    engine.images.resolve(request.arguments[0])
    await request.answer(200, [])


async def inspect(engine: Engine, request: Request) -> None:
    """Answer "Inspect an image"."""
    await request.answer(200, versions.image(engine.image_api.inspect(request.arguments[0]), request.version))


async def history(engine: Engine, request: Request) -> None:
    """Answer "Get the history of an image"."""
    await request.answer(200, engine.image_api.history(request.arguments[0]))


async def tag(engine: Engine, request: Request) -> None:
    """Answer "Tag an image"."""
    engine.image_api.tag(request.arguments[0], request.text("repo") or "", request.text("tag") or "")
    await request.answer(201)


async def remove(engine: Engine, request: Request) -> None:
    """Answer "Remove an image"."""
    await request.answer(200, await engine.image_api.remove(request.arguments[0], force=request.flag("force")))


async def prune(engine: Engine, request: Request) -> None:
    """Answer "Delete unused images"."""
    await pruning.answer(request, engine.image_api.prune)


def credentials(request: Request) -> dict[str, str] | None:
    """Parse the header X-Registry-Auth. Raises BadRequestError."""
    return _encoded(request, "X-Registry-Auth")


def registry_config(request: Request) -> dict[str, dict[str, str]]:
    """Parse the header X-Registry-Config (Docker Engine API, "Build an image"): registry domain → credentials.

    Raises BadRequestError.
    """
    found = _encoded(request, "X-Registry-Config") or {}
    return {registry_domain(address): entry for address, entry in found.items() if isinstance(entry, dict)}


def _encoded(request: Request, header: str) -> dict[str, Any] | None:
    text = request.headers.get(header.lower())
    if not text:
        return None
    try:
        document = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError as error:
        raise BadRequestError(f"{header} can't be decoded", "it must be a JSON object in URL-safe base64") from error
    return document if isinstance(document, dict) else None


async def _progress(
    engine: Engine, request: Request, source: Source[dict[str, Any]], *, has_status: bool = True
) -> None:
    """Stream progress; what fails is a message, as Docker sends it.

    With `has_status` what fails before the first message is raised; without, only what is wrong with the request itself.
    """

    async def with_errors(send: Send[dict[str, Any]]) -> None:
        try:
            await source(send)
        except SkiffError as error:
            is_of_request = isinstance(error, RequestTimeoutError | BodyTooLargeError)
            if not request.has_answered and (has_status or is_of_request):
                raise
            await send({"error": error.message, "errorDetail": error.document()})
        except OSError as error:
            if (full := disk_full_error(error, engine.paths)) is None or not request.has_answered:
                raise
            await send({"error": full.message, "errorDetail": full.document()})

    await request.stream(with_errors, encode=line, waits=True)


async def pull(engine: Engine, request: Request) -> None:
    """Answer "Create an image": pull it, or import the archive in the body."""
    name, tag_ = request.text("fromImage") or "", request.text("tag") or ""
    if not name:
        await _import(engine, request)
        return
    if tag_:
        name += f"@{tag_}" if ":" in tag_ else f":{tag_}"
    platform, auth = request.text("platform"), credentials(request)
    await _progress(engine, request, partial(engine.image_api.pull, name, platform=platform, auth=auth))


async def _import(engine: Engine, request: Request) -> None:
    if request.text("fromSrc") != "-":
        raise BadRequestError("only an archive can be imported", "download it, and import it from a file or a pipe")
    work = partial(
        engine.image_making.import_archive,
        request.chunks(),
        repository=request.text("repo") or "",
        tag=request.text("tag") or "",
        message=request.text("message") or "",
        changes=request.queries.get("changes") or (),
        platform=request.text("platform") or "",
    )
    await _progress(engine, request, work)


async def commit(engine: Engine, request: Request) -> None:
    """Answer "Create a new image from a container"."""
    image = await engine.image_making.commit(
        request.text("container") or "",
        repository=request.text("repo") or "",
        tag=request.text("tag") or "",
        author=request.text("author") or "",
        comment=request.text("comment") or "",
        changes=request.queries.get("changes") or (),
        overrides=await request.json(bodies.ContainerConfig),
        pause=request.flag("pause", True),
    )
    await request.answer(201, {"Id": image.id})


async def search(engine: Engine, request: Request) -> None:
    """Refuse "Search images": registries have no API for it, only Docker Hub has."""
    raise EngineError(
        "searching Docker Hub is not supported", "search at https://hub.docker.com, then pull by name", status=501
    )


async def push(engine: Engine, request: Request) -> None:
    """Answer "Push an image"."""
    name = request.arguments[0] + (f":{request.text('tag')}" if request.text("tag") else "")
    push_image = partial(engine.image_api.push, name, auth=credentials(request))
    await _progress(engine, request, push_image, has_status=False)


async def distribution(engine: Engine, request: Request) -> None:
    """Answer "Get image information from the registry"."""
    await request.answer(200, await engine.image_api.distribution(request.arguments[0], auth=credentials(request)))


async def auth(engine: Engine, request: Request) -> None:
    """Answer "Check auth configuration"."""
    await request.answer(200, await engine.image_api.log_in(await request.json(bodies.Authentication)))


async def load(engine: Engine, request: Request) -> None:
    """Answer "Import images"."""
    await _progress(engine, request, partial(engine.image_api.load, request.chunks()), has_status=False)


async def bootstrap(engine: Engine, request: Request) -> None:
    """Create a Debian base image (our extension)."""
    await _progress(engine, request, partial(engine.image_api.bootstrap, request.text("reference") or ""))


async def save(engine: Engine, request: Request) -> None:
    """Answer "Export several images"."""
    await _save(engine, request, request.queries.get("names") or [])


async def save_one(engine: Engine, request: Request) -> None:
    """Answer "Export an image"."""
    await _save(engine, request, [request.arguments[0]])


async def _save(engine: Engine, request: Request, names: list[str]) -> None:
    for name in names:
        try:
            engine.images.resolve(name)
        except NotFoundError as error:
            raise NotFoundError(f"No such image: {name}", error.hint) from error
    await request.stream(partial(engine.image_api.save, names), encode=bytes, kind="application/x-tar", waits=True)
