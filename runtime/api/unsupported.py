"""Routes of plugins and swarms, which are not supported: answered like a Docker Engine without any."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from runtime.api.request import Request
from runtime.engine import filters
from runtime.engine.networks.api import NO_SWARM
from runtime.errors import EngineError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from runtime.engine.engine import Engine

NO_MEMBER = "This node is not part of a swarm"


async def list_plugins(engine: Engine, request: Request) -> None:
    """Answer "List plugins": there are none."""
    filters.check_known(filters.parse(request.text("filters")), ("capability", "enable"))
    await request.answer(200, [])


async def plugin(engine: Engine, request: Request) -> NoReturn:
    """Refuse requests for one plugin."""
    raise NotFoundError(f'plugin "{request.arguments[0]}" not found')


async def new_plugin(engine: Engine, request: Request) -> NoReturn:
    """Refuse to install or create a plugin."""
    raise EngineError("plugins are not supported", "use the built-in volume, network and log drivers", status=501)


async def swarm(engine: Engine, request: Request) -> NoReturn:
    """Refuse requests for a swarm manager."""
    raise UnavailableError(NO_SWARM, "swarms are not supported")


async def swarm_membership(engine: Engine, request: Request) -> NoReturn:
    """Refuse to leave or unlock a swarm."""
    raise UnavailableError(NO_MEMBER)


async def new_swarm(engine: Engine, request: Request) -> NoReturn:
    """Refuse to create or join a swarm."""
    raise UnavailableError("swarms are not supported", "this engine runs containers on one machine")
