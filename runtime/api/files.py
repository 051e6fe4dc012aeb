"""Routes of files in containers."""

from __future__ import annotations

import base64
import json
from functools import partial
from typing import TYPE_CHECKING

from runtime import bodies
from runtime.api.request import NULL, Request
from runtime.errors import BadRequestError

if TYPE_CHECKING:
    from runtime.engine.engine import Engine

TAR = "application/x-tar"


def _path(request: Request) -> str:
    path = request.text("path")
    if not path:
        raise BadRequestError("bad parameter: pathcannot be empty")
    return path


def _stat_header(about: dict[str, object]) -> dict[str, str]:
    return {"X-Docker-Container-Path-Stat": base64.b64encode(json.dumps(about).encode()).decode()}


async def archive_head(engine: Engine, request: Request) -> None:
    """Answer "Get information about files in a container"."""
    container = engine.containers.find(request.arguments[0])
    about = await engine.files.about(container, _path(request))
    await request.answer(200, headers=_stat_header(about))


async def archive_get(engine: Engine, request: Request) -> None:
    """Answer "Get an archive of a filesystem resource in a container"."""
    container, path = engine.containers.find(request.arguments[0]), _path(request)
    about = await engine.files.about(container, path)
    await request.stream(
        partial(engine.files.get, container, path), encode=bytes, kind=TAR, headers=_stat_header(about)
    )


async def export(engine: Engine, request: Request) -> None:
    """Answer "Export a container"."""
    container = engine.containers.find(request.arguments[0])
    await request.stream(partial(engine.files.export, container), encode=bytes, kind=TAR)


async def changes(engine: Engine, request: Request) -> None:
    """Answer "Get changes on a container's filesystem"."""
    found = await engine.files.changes(engine.containers.find(request.arguments[0]))
    await request.answer(200, [{"Path": one.path, "Kind": one.kind} for one in found] or NULL)


async def archive_put(engine: Engine, request: Request) -> None:
    """Answer "Extract an archive of files or folders to a directory in a container"."""
    await engine.files.put(
        engine.containers.find(request.arguments[0]),
        _path(request),
        request.chunks(),
        no_overwrite_dir_non_dir=request.flag("noOverwriteDirNonDir"),
        owned_by_user=request.flag("copyUIDGID"),
    )
    await request.answer(200)


async def remove(engine: Engine, request: Request) -> None:
    """Remove files of a container, also of one that does not run; Docker's API has no such endpoint."""
    wanted = await request.json(bodies.FilesRemoval)
    await engine.files.remove(engine.containers.find(request.arguments[0]), wanted.get("paths") or ())
    await request.answer(204)
