"""A connection that was upgraded to a WebSocket: raw bytes in both directions, in binary frames."""

from __future__ import annotations

import anyio

from runtime.api.connection import ClientConnection, Closed
from runtime.http.codec import ProtocolError
from runtime.http.websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, FrameParser, frame

NORMAL_CLOSURE = b"\x03\xe8"
CLOSING_S = 2.0


class WebSocket:
    """A WebSocket with the interface of a hijacked `ClientConnection`."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._frames = FrameParser()
        self._ended = anyio.Event()
        """Set when the client has closed the WebSocket or the connection."""
        self.buffer = bytearray()

    async def send(self, data: bytes) -> None:
        """Send all of `data`. Raises Closed."""
        await self._connection.send(frame(BINARY, data))

    async def receive(self) -> bytes:
        """Return the next bytes, b"" at the end."""
        while not self._ended.is_set():
            early = bytes(self._connection.buffer)
            self._connection.buffer.clear()
            data = early or await self._connection.receive()
            if not data:
                self._ended.set()
                return b""
            try:
                payload = b"".join([await self._take(one.opcode, one.payload) for one in self._frames.feed(data)])
            except (ProtocolError, Closed):
                return b""
            if payload:
                return payload
        return b""

    async def _take(self, opcode: int, payload: bytes) -> bytes:
        if opcode == PING:
            await self._connection.send(frame(PONG, payload))
        elif opcode == CLOSE:
            self._ended.set()
            await self._connection.send(frame(CLOSE, payload[:2]))
        return payload if opcode in (TEXT, BINARY, CONTINUATION) and not self._ended.is_set() else b""

    async def end_output(self) -> None:
        """Close the WebSocket; return when the client has confirmed it (RFC 6455, section 7.1), at most after CLOSING_S."""
        await self._connection.send(frame(CLOSE, NORMAL_CLOSURE))
        with anyio.move_on_after(CLOSING_S):
            await self._ended.wait()

    async def hung_up(self) -> None:
        """Return when the client has closed the WebSocket or the connection."""
        if not self._ended.is_set():
            await self._connection.hung_up()
