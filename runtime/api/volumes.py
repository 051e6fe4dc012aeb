"""Routes of volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime import bodies
from runtime.api import pruning
from runtime.api.request import Request
from runtime.engine import filters

if TYPE_CHECKING:
    from runtime.engine.engine import Engine


async def list_volumes(engine: Engine, request: Request) -> None:
    """Answer "List volumes"."""
    await request.answer(200, engine.volume_api.list(filters.parse(request.text("filters"))))


async def inspect_volume(engine: Engine, request: Request) -> None:
    """Answer "Inspect a volume"."""
    await request.answer(200, engine.volume_api.inspect(request.arguments[0]))


async def create_volume(engine: Engine, request: Request) -> None:
    """Answer "Create a volume"."""
    await request.answer(201, engine.volume_api.create(await request.json(bodies.VolumeBody)))


async def remove_volume(engine: Engine, request: Request) -> None:
    """Answer "Remove a volume"."""
    engine.volume_api.remove(request.arguments[0], force=request.flag("force"))
    await request.answer(204)


async def prune_volumes(engine: Engine, request: Request) -> None:
    """Answer "Delete unused volumes"."""
    await pruning.answer(request, engine.volume_api.prune)
