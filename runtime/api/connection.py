"""A client's connection: receiving and sending bytes, reading the heads of requests."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import termios
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import anyio

from runtime.api.intake import Intake, within
from runtime.http.codec import Head, ProtocolError, split_head

T = TypeVar("T")
READ_BYTES = 1 << 18
MOST_DESCRIPTORS = 64
"""How many descriptors a client may have sent that no request has taken; those beyond are closed."""
CONTROL_BYTES = socket.CMSG_SPACE(4 * MOST_DESCRIPTORS)
READ_WITHIN_S = 5.0
LOOK_AGAIN_S, MAX_LOOK_AGAIN_S = 0.0005, 0.02


def is_preface(head: Head) -> bool:
    """Whether a head is the connection preface of HTTP/2 (RFC 9113, section 3.4)."""
    return (head.first, head.second, head.third) == ("PRI", "*", "HTTP/2.0")


class Closed(Exception):
    """The client has disconnected."""


class ClientConnection:
    """A client's connection over a non-blocking socket; `buffer` has received bytes that are not consumed yet."""

    def __init__(self, peer: socket.socket, intake: Intake) -> None:
        peer.setblocking(False)
        self._socket = peer
        self.intake = intake
        self.buffer = bytearray()
        self._descriptors: list[int] = []

    async def fill(self) -> None:
        """Receive more bytes into `buffer`, and descriptors that come with them. Raises Closed at EOF."""
        try:
            data, control, _, _ = await self._once_readable(
                lambda: self._socket.recvmsg(READ_BYTES, CONTROL_BYTES, socket.MSG_CMSG_CLOEXEC)
            )
        except OSError:
            raise Closed from None
        for level, kind, content in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._descriptors += struct.unpack(f"{len(content) // 4}i", content[: len(content) // 4 * 4])
        for descriptor in self._descriptors[MOST_DESCRIPTORS:]:
            os.close(descriptor)
        del self._descriptors[MOST_DESCRIPTORS:]
        if not data:
            raise Closed
        self.buffer += data

    def take_descriptors(self) -> list[int]:
        """Return the descriptors that came with what was received so far (unix(7), SCM_RIGHTS); the caller closes them."""
        taken, self._descriptors = self._descriptors, []
        return taken

    def close_descriptors(self) -> None:
        """Close the descriptors that nobody has taken."""
        for descriptor in self.take_descriptors():
            os.close(descriptor)

    async def receive(self) -> bytes:
        """Return the next bytes, b"" at EOF."""
        try:
            return await self._once_readable(lambda: self._socket.recv(READ_BYTES))
        except OSError:
            return b""

    async def _once_readable(self, receive: Callable[[], T]) -> T:
        """Return what `receive` returns, once there is something to receive. Raises OSError."""
        while True:
            try:
                return receive()
            except BlockingIOError:
                await anyio.wait_readable(self._socket)

    async def send(self, data: bytes) -> None:
        """Send all of `data`. Raises Closed."""
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                await anyio.wait_writable(self._socket)
            except OSError as error:
                raise Closed from error

    async def wait_until_read(self) -> None:
        """Return when the client has read all that was sent, or after READ_WITHIN_S.

        Some clients read the head of a hijacked answer through a buffer, and then raw bytes from the socket: what arrives
        together with the head is lost to them (docker-py 7.2). There is no event for "the peer has read", so the kernel
        is polled (SIOCOUTQ, of which only zero is meaningful here; see findings/).
        """
        pause_s = LOOK_AGAIN_S
        with anyio.move_on_after(READ_WITHIN_S), suppress(OSError):
            while struct.unpack("i", fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4)))[0]:
                await anyio.sleep(pause_s)
                pause_s = min(2 * pause_s, MAX_LOOK_AGAIN_S)

    async def end_output(self) -> None:
        """Shut down the sending side; the client may still send."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            return

    async def hung_up(self) -> None:
        """Return when the client has closed the connection, not only its sending side. Reads nothing."""
        with select.epoll() as watch:
            watch.register(self._socket, 0)  # no events: EPOLLHUP is always reported (epoll_ctl(2))
            await anyio.wait_readable(watch.fileno())

    async def next_head(self) -> Head | None:
        """Return the next request's head, None at EOF. Raises ProtocolError, EngineError.

        The first byte may take any time, the rest of the head at most `IntakeLimits.head_s`.
        """
        try:
            while not self._has_begun():
                await self.fill()
            found = split_head(self.buffer)
            if found is None:
                found = await self._rest_of_head()
        except Closed:
            return None
        head, length = found
        del self.buffer[:length]
        if head.third not in ("HTTP/1.1", "HTTP/1.0") and not is_preface(head):
            raise ProtocolError(f"unsupported HTTP version: {head.third!r}")
        return head

    def _has_begun(self) -> bool:
        """Skip the empty lines that may precede a request (RFC 9112, section 2.2); return whether anything is left."""
        while self.buffer.startswith(b"\r\n"):
            del self.buffer[:2]
        return bool(self.buffer) and self.buffer != b"\r"

    async def _rest_of_head(self) -> tuple[Head, int]:
        with self.intake.holding() as hold, within(self.intake.limits.head_s, "the request's head"):
            hold.add(len(self.buffer))
            while (found := split_head(self.buffer)) is None:
                before = len(self.buffer)
                await self.fill()
                hold.add(len(self.buffer) - before)
        return found
