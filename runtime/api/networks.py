"""Routes of networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime import bodies
from runtime.api import pruning, versions
from runtime.api.request import Request
from runtime.engine import filters

if TYPE_CHECKING:
    from runtime.engine.engine import Engine


async def list_networks(engine: Engine, request: Request) -> None:
    """Answer "List networks"."""
    await request.answer(200, engine.network_api.list(filters.parse(request.text("filters"))))


async def inspect_network(engine: Engine, request: Request) -> None:
    """Answer "Inspect a network"."""
    document = engine.network_api.inspect(request.arguments[0], scope=request.text("scope") or "")
    status = engine.network_api.addresses(request.arguments[0])
    await request.answer(200, versions.network(document, status, request.version))


async def create_network(engine: Engine, request: Request) -> None:
    """Answer "Create a network"."""
    await request.answer(
        201, await engine.network_api.create(await request.json(bodies.NetworkBody, is_optional=False))
    )


async def remove_network(engine: Engine, request: Request) -> None:
    """Answer "Remove a network"."""
    await engine.network_api.remove(request.arguments[0])
    await request.answer(204)


async def prune_networks(engine: Engine, request: Request) -> None:
    """Answer "Delete unused networks"."""
    await pruning.answer(request, engine.network_api.prune)


async def connect(engine: Engine, request: Request) -> None:
    """Answer "Connect a container to a network"."""
    await engine.network_api.connect(request.arguments[0], await request.json(bodies.ConnectBody))
    await request.answer(200)


async def disconnect(engine: Engine, request: Request) -> None:
    """Answer "Disconnect a container from a network"."""
    await engine.network_api.disconnect(request.arguments[0], await request.json(bodies.DisconnectBody))
    await request.answer(200)
