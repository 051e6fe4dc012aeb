"""HTTP/2 over a connection that was given over to it, as its client or its server, for gRPC (RFC 9113; h2 does the frames)."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import anyio
import anyio.abc
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

WINDOW_BYTES = 4 << 20
"""How much of one stream, and of all together, a peer may send before it is read."""
LARGEST_MESSAGE_BYTES = 64 << 20
PREFIX = struct.Struct("!BI")
"""What stands before each message of gRPC: whether it is compressed, and its length."""

Headers = Sequence[tuple[str, str]]


class Transport(Protocol):
    """The bytes below: `runtime.api.connection.Connection`."""

    async def receive(self) -> bytes:
        """Return the next bytes; none at the end."""
        ...

    async def send(self, data: bytes) -> None:
        """Send all of `data`."""
        ...


class StreamClosed(Exception):
    """The peer ended the stream, or the connection."""


class Stream:
    """One call: headers, messages both ways, trailers."""

    def __init__(self, connection: Http2, id: int) -> None:
        self._connection = connection
        self.id = id
        self.headers: dict[str, str] = {}
        self.trailers: dict[str, str] = {}
        self.scope = anyio.CancelScope()
        self._data = bytearray()
        self._has_ended = False
        self._is_widened = False
        self.is_reset = False
        self._changed = anyio.Event()

    async def receive(self) -> bytes | None:
        """Return the next message, None at the end. Raises StreamClosed."""
        while True:
            if len(self._data) >= PREFIX.size:
                is_compressed, length = PREFIX.unpack_from(self._data)
                if is_compressed or length > LARGEST_MESSAGE_BYTES:
                    raise StreamClosed("a message is compressed or too large")
                if len(self._data) >= PREFIX.size + length:
                    found = bytes(self._data[PREFIX.size : PREFIX.size + length])
                    del self._data[: PREFIX.size + length]
                    self._is_widened = False
                    await self._connection.acknowledge(self, PREFIX.size + length)
                    return found
                if self._has_ended or self.is_reset:
                    raise StreamClosed("the stream ended within a message")
                if length + PREFIX.size > WINDOW_BYTES // 2 and not self._is_widened:
                    # a message larger than the window: the peer may go on although nothing of it is done with
                    self._is_widened = True
                    await self._connection.widen(self, length)
            elif self.is_reset:
                raise StreamClosed("the peer ended the stream")
            elif self._has_ended:
                return None
            await self._changed.wait()

    async def wait_headers(self) -> None:
        """Return when the answer's headers are there. Raises StreamClosed."""
        while not self.headers:
            if self.is_reset:
                raise StreamClosed("the peer ended the stream")
            await self._changed.wait()

    async def send(self, message: bytes) -> None:
        """Send a message. Raises StreamClosed."""
        await self._connection.send_data(self, PREFIX.pack(0, len(message)) + message)

    async def end(self) -> None:
        """Say that no more messages follow. Raises StreamClosed."""
        if not self.trailers:  # else the other side has had enough
            await self._connection.send_data(self, b"", is_end=True)

    def on_data(self, data: bytes) -> None:
        """Take bytes of messages."""
        self._data += data
        self.notify()

    def on_end(self, *, is_reset: bool = False) -> None:
        """Record the end of the stream, and wake its reader."""
        self._has_ended = True
        self.is_reset = self.is_reset or is_reset
        self.notify()
        if is_reset:
            self.scope.cancel()

    def notify(self) -> None:
        """Wake who waits for something of the stream."""
        self._changed.set()
        self._changed = anyio.Event()

    async def wait(self) -> None:
        """Return when something has changed."""
        await self._changed.wait()


class Http2:
    """One connection. A server gives each new stream to `serve`; a client opens them."""

    def __init__(
        self, transport: Transport, *, is_client: bool, serve: Callable[[Stream], Awaitable[None]] | None = None
    ) -> None:
        self._transport = transport
        self._serve = serve
        config = H2Configuration(client_side=is_client, header_encoding="utf-8")
        self._h2 = H2Connection(config)
        self._streams: dict[int, Stream] = {}
        self._sending = anyio.Lock()
        self._is_client = is_client
        self._h2.initiate_connection()
        # not by `local_settings` before: the first frame would carry the old value, and h2 count with the new one
        self._h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: WINDOW_BYTES})
        self._h2.increment_flow_control_window(WINDOW_BYTES)
        self.is_closed = False

    async def run(self, first: bytes = b"") -> None:
        """Serve until the peer is gone; `first` are bytes that were read already."""
        await self._flush()
        try:
            async with anyio.create_task_group() as group:
                data = first or await self._transport.receive()
                while data:
                    try:
                        events = self._h2.receive_data(data)
                    except ProtocolError:
                        await self._flush()
                        break
                    for event in events:
                        self._handle(event, group)
                    await self._flush()
                    if self.is_closed:
                        break
                    data = await self._transport.receive()
                self.close()
                group.cancel_scope.cancel()
        finally:
            self.close()

    def close(self) -> None:
        """End all streams."""
        self.is_closed = True
        for stream in list(self._streams.values()):
            stream.on_end(is_reset=True)
        self._streams.clear()

    def _handle(self, event: Any, group: anyio.abc.TaskGroup) -> None:
        if isinstance(event, RequestReceived):
            stream = self._streams[event.stream_id] = Stream(self, event.stream_id)
            stream.headers = _merged(event.headers)
            if self._serve is not None:
                group.start_soon(self._serve_one, stream)
            return
        if isinstance(event, ConnectionTerminated):
            self.is_closed = True
            return
        if isinstance(event, (RemoteSettingsChanged, WindowUpdated)):
            for each in list(self._streams.values()):
                each.notify()
            return
        found = self._streams.get(getattr(event, "stream_id", 0))
        if found is None:
            return
        if isinstance(event, ResponseReceived):
            found.headers = _merged(event.headers)
            found.trailers = {name: value for name, value in found.headers.items() if name.startswith("grpc-")}
            found.notify()
        elif isinstance(event, TrailersReceived):
            found.trailers = _merged(event.headers)
        elif isinstance(event, DataReceived):
            padding = event.flow_controlled_length - len(event.data)
            if padding:
                self._h2.acknowledge_received_data(padding, event.stream_id)
            found.on_data(event.data)
        elif isinstance(event, StreamEnded):
            found.on_end()
        elif isinstance(event, StreamReset) and not (found.trailers and event.error_code == ErrorCodes.NO_ERROR):
            # a server that has answered in full lets go of the rest of the request so (RFC 9113, section 8.1)
            found.on_end(is_reset=True)

    async def _serve_one(self, stream: Stream) -> None:
        assert self._serve is not None
        try:
            with stream.scope:
                await self._serve(stream)
        except StreamClosed:
            pass
        finally:
            self._streams.pop(stream.id, None)

    # --- sending

    async def _flush(self) -> None:
        async with self._sending:
            if data := self._h2.data_to_send():
                await self._transport.send(data)

    async def open(self, headers: Headers) -> Stream:
        """Begin a call as a client. Raises StreamClosed."""
        if self.is_closed:
            raise StreamClosed("the connection is closed")
        stream = Stream(self, self._h2.get_next_available_stream_id())
        self._streams[stream.id] = stream
        self._h2.send_headers(stream.id, list(headers))
        await self._flush()
        return stream

    async def send_headers(self, stream: Stream, headers: Headers, *, is_end: bool = False) -> None:
        """Send headers, or the trailers with `is_end`. Raises StreamClosed."""
        try:
            self._h2.send_headers(stream.id, list(headers), end_stream=is_end)
        except ProtocolError as error:
            raise StreamClosed(str(error)) from error
        await self._flush()

    async def send_data(self, stream: Stream, data: bytes, *, is_end: bool = False) -> None:
        """Send bytes as the peer takes them. Raises StreamClosed."""
        view = memoryview(data)
        try:
            while view:
                if self.is_closed or stream.is_reset:
                    raise StreamClosed("the peer ended the stream")
                room = min(self._h2.local_flow_control_window(stream.id), self._h2.max_outbound_frame_size)
                if room <= 0:
                    await stream.wait()
                    continue
                self._h2.send_data(stream.id, bytes(view[:room]), end_stream=is_end and len(view) <= room)
                view = view[room:]
                await self._flush()
            if is_end and not data:
                self._h2.end_stream(stream.id)
                await self._flush()
        except ProtocolError as error:
            raise StreamClosed(str(error)) from error

    async def acknowledge(self, stream: Stream, length: int) -> None:
        """Let the peer send as much more as was read."""
        with suppress(ProtocolError):
            self._h2.acknowledge_received_data(length, stream.id)
        await self._flush()

    async def widen(self, stream: Stream, length: int) -> None:
        """Let the peer send a message that does not fit into the window."""
        with suppress(ProtocolError, ValueError):
            self._h2.increment_flow_control_window(length, stream.id)
            self._h2.increment_flow_control_window(length)
        await self._flush()

    async def reset(self, stream: Stream) -> None:
        """Give a call up."""
        self._streams.pop(stream.id, None)
        with suppress(ProtocolError):
            self._h2.reset_stream(stream.id, ErrorCodes.CANCEL)
        await self._flush()

    def forget(self, stream: Stream) -> None:
        """Forget a call that has ended."""
        self._streams.pop(stream.id, None)


def _merged(headers: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers or ():
        found[name] = f"{found[name]},{value}" if name in found else value
    return found
