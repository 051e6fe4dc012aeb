"""Routes of what Docker has and this engine has not: plugins and swarms, refused as by a Docker that has none."""

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
    """Refuse whatever is asked of one plugin."""
    raise NotFoundError(f'plugin "{request.arguments[0]}" not found')


async def new_plugin(engine: Engine, request: Request) -> NoReturn:
    """Refuse to get or make a plugin."""
    raise EngineError("plugins are not offered here", "volumes, networks and logs are the engine's own", status=501)


async def swarm(engine: Engine, request: Request) -> NoReturn:
    """Refuse what only a manager of a swarm does."""
    raise UnavailableError(NO_SWARM, "this engine runs one machine's containers: it has no swarm")


async def swarm_membership(engine: Engine, request: Request) -> NoReturn:
    """Refuse to leave, or to unlock, a swarm that there is not."""
    raise UnavailableError(NO_MEMBER)


async def new_swarm(engine: Engine, request: Request) -> NoReturn:
    """Refuse to begin, or to join, a swarm."""
    raise UnavailableError("swarms are not offered here", "this engine runs one machine's containers")
