"""The sessions of build clients: connections on which the engine calls them, for files, secrets, agents and credentials."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio

from runtime.buildkit.http2 import Http2, StreamClosed
from runtime.buildkit.rpc import UNAVAILABLE, RpcError, ask
from runtime.buildkit.schema import message

UUID, NAME, SHARED_KEY, METHOD = (
    "x-docker-expose-session-uuid",
    "x-docker-expose-session-name",
    "x-docker-expose-session-sharedkey",
    "x-docker-expose-session-grpc-method",
)
"""The headers by which a client says who it is, and what it can be asked for."""
COMES_WITHIN_S = 10.0


class Session:
    """One client: what it serves, and the connection to ask it on."""

    def __init__(self, headers: Mapping[str, str], connection: Http2) -> None:
        self.id = headers[UUID]
        self.shared_key = headers.get(SHARED_KEY, "")
        self._methods = {one.strip().lower() for one in headers.get(METHOD, "").split(",")}
        self.connection = connection

    def serves(self, path: str) -> bool:
        """Whether the client can be asked for what `path`, "/service/method", names."""
        return path.lower() in self._methods

    async def secret(self, id: str) -> bytes | None:
        """Return the secret `id`, None where the client has none of that name. Raises RpcError."""
        path = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
        if not self.serves(path):
            return None
        request = message("moby.buildkit.secrets.v1.GetSecretRequest")(ID=id)
        try:
            answer = await ask(self.connection, path, request, "moby.buildkit.secrets.v1.GetSecretResponse")
        except RpcError as error:
            if error.code == UNAVAILABLE:
                raise
            return None
        return bytes(answer.data)

    async def credentials(self, host: str) -> dict[str, str] | None:
        """Return the client's user name and password, or token, for a registry; None where it has none."""
        path = "/moby.filesync.v1.Auth/Credentials"
        if not self.serves(path):
            return None
        request = message("moby.filesync.v1.CredentialsRequest")(Host=host)
        answer = await ask(self.connection, path, request, "moby.filesync.v1.CredentialsResponse")
        if not answer.Secret:
            return None
        if not answer.Username:
            return {"identitytoken": answer.Secret}
        return {"username": answer.Username, "password": answer.Secret}


class _Nothing:
    """A connection to nobody."""

    async def receive(self) -> bytes:
        return b""

    async def send(self, data: bytes) -> None:
        raise StreamClosed("the build has no client that could be asked")


def nobody() -> Session:
    """Return the session of a build whose client serves nothing."""
    return Session({UUID: ""}, Http2(_Nothing(), is_client=True))


class Sessions:
    """The sessions that are there now, by their IDs."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._changed = anyio.Event()

    @asynccontextmanager
    async def open(self, session: Session) -> AsyncIterator[None]:
        """Have `session` found until the block ends."""
        self._sessions[session.id] = session
        self._changed.set()
        self._changed = anyio.Event()
        try:
            yield
        finally:
            if self._sessions.get(session.id) is session:
                del self._sessions[session.id]

    async def get(self, id: str) -> Session:
        """Return a session, which may be about to come. Raises RpcError where it does not."""
        with anyio.move_on_after(COMES_WITHIN_S):
            while id not in self._sessions:
                await self._changed.wait()
        if id not in self._sessions:
            raise RpcError(UNAVAILABLE, f"no active session for {id}: the build's client is not connected")
        return self._sessions[id]
