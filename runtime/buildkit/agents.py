"""The SSH agent of a build's client, as a socket that steps can use."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import anyio.abc

from runtime.buildkit.http2 import StreamClosed
from runtime.buildkit.rpc import UNKNOWN, RpcError, ask, calling
from runtime.buildkit.schema import message
from runtime.buildkit.sessions import Session
from runtime.image.transfers import together

ID = "buildkit.ssh.id"
SERVICE = "/moby.sshforward.v1.SSH"
BYTES = "moby.sshforward.v1.BytesMessage"
PIECE_BYTES = 1 << 15


@asynccontextmanager
async def forwarded_agent(session: Session, id: str, scratch: Path) -> AsyncIterator[str]:
    """Listen on a socket whose peers are connected to the client's agent `id`; give its path. Raises RpcError."""
    if not session.serves(f"{SERVICE}/ForwardAgent"):
        raise RpcError(UNKNOWN, f"the build's client serves no SSH agent {id!r}")
    request = message("moby.sshforward.v1.CheckAgentRequest")(ID=id)
    await ask(session.connection, f"{SERVICE}/CheckAgent", request, "moby.sshforward.v1.CheckAgentResponse")
    path = Path(tempfile.mkdtemp(prefix="ssh-", dir=scratch)) / "agent"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.setblocking(False)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen()
        async with together() as group:
            group.start_soon(_accept, listener, session, id, group)
            yield str(path)
            group.cancel_scope.cancel()


async def _accept(listener: socket.socket, session: Session, id: str, group: anyio.abc.TaskGroup) -> None:
    while True:
        await anyio.wait_readable(listener)
        with suppress(BlockingIOError):
            peer, _ = listener.accept()
            peer.setblocking(False)
            group.start_soon(_relay, peer, session, id)


async def _relay(peer: socket.socket, session: Session, id: str) -> None:
    """Carry bytes between a step's connection and the client's agent, until one of them ends."""
    with peer, suppress(OSError, RpcError):
        async with (
            calling(session.connection, f"{SERVICE}/ForwardAgent", [(ID, id)]) as call,
            anyio.create_task_group() as group,
        ):

            async def to_client() -> None:
                with suppress(OSError, RpcError, StreamClosed):
                    while data := await _received(peer):
                        await call.send(message(BYTES)(data=data))
                    await call.end()

            group.start_soon(to_client)
            with suppress(OSError, RpcError, StreamClosed):
                while (answer := await call.receive(BYTES)) is not None:
                    await _send(peer, answer.data)
            group.cancel_scope.cancel()


async def _received(peer: socket.socket) -> bytes:
    while True:
        try:
            return peer.recv(PIECE_BYTES)
        except BlockingIOError:
            await anyio.wait_readable(peer)


async def _send(peer: socket.socket, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[peer.send(view) :]
        except BlockingIOError:
            await anyio.wait_writable(peer)
