"""`RUN --mount=type=ssh`: connects a step's socket to the SSH agent of the build's client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import anyio.abc

from runtime.build.writer import Owner
from runtime.image.transfers import together
from runtime.linux.ownership import chown

_BROKEN = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)


@asynccontextmanager
async def relayed(socket: Path, agent: str, mode: int, owner: Owner) -> AsyncIterator[None]:
    """Listen at `socket`, of that mode and owner, and connect who comes to the agent at `agent`, until the block ends.

    The agent's own socket may be its owner's alone; what the step sees is another one, of the step's user.
    """
    listener = await anyio.create_unix_listener(socket, mode=mode)
    chown(str(socket), owner.uid, owner.gid)

    async def serve(client: anyio.abc.SocketStream) -> None:
        async with client:
            with suppress(*_BROKEN):
                async with await anyio.connect_unix(agent) as peer:
                    await _both_ways(client, peer)

    async with listener, together() as group:
        group.start_soon(listener.serve, serve)
        yield
        group.cancel_scope.cancel()


async def _both_ways(one: anyio.abc.SocketStream, other: anyio.abc.SocketStream) -> None:
    async with anyio.create_task_group() as group:

        async def pump(source: anyio.abc.SocketStream, target: anyio.abc.SocketStream) -> None:
            with suppress(*_BROKEN):
                while True:
                    await target.send(await source.receive())
            group.cancel_scope.cancel()

        group.start_soon(pump, one, other)
        group.start_soon(pump, other, one)
