"""One client's connection: bytes in and out, and the heads of requests among them."""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import termios
from contextlib import suppress

import anyio

from runtime.api.intake import Intake, within
from runtime.http.codec import Head, ProtocolError, split_head

READ_BYTES = 1 << 18
READ_WITHIN_S = 5.0
LOOK_AGAIN_S, LOOK_AT_LEAST_S = 0.0005, 0.02


def is_preface(head: Head) -> bool:
    """Whether a head is the beginning of a connection that speaks HTTP/2 from its first byte (RFC 9113, section 3.4)."""
    return (head.first, head.second, head.third) == ("PRI", "*", "HTTP/2.0")


class Closed(Exception):
    """The client hung up."""


class Connection:
    """Bytes of one client, over a non-blocking socket."""

    def __init__(self, peer: socket.socket, intake: Intake) -> None:
        peer.setblocking(False)
        self._socket = peer
        self.intake = intake
        self.buffer = bytearray()

    async def fill(self) -> None:
        """Wait for more bytes. Raises Closed at the end."""
        data = await self.receive()
        if not data:
            raise Closed
        self.buffer += data

    async def receive(self) -> bytes:
        """Return the next bytes; none at the end."""
        while True:
            try:
                return self._socket.recv(READ_BYTES)
            except BlockingIOError:
                await anyio.wait_readable(self._socket)
            except OSError:
                return b""

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
        """Return when the client has read all that was sent, or did not for a while.

        Clients read the head of a hijacked answer through a buffer, and raw bytes past it: what comes together with the
        head is lost to them (docker-py 7.2). No event tells that a peer has read, so the kernel is asked (SIOCOUTQ, of
        which only zero means something here; see findings/).
        """
        pause_s = LOOK_AGAIN_S
        with anyio.move_on_after(READ_WITHIN_S), suppress(OSError):
            while struct.unpack("i", fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4)))[0]:
                await anyio.sleep(pause_s)
                pause_s = min(2 * pause_s, LOOK_AT_LEAST_S)

    async def end_output(self) -> None:
        """Tell the client that nothing more comes; it may still send."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            return

    async def hung_up(self) -> None:
        """Return when the client is gone altogether; one that only ended its input is still there. Reads nothing."""
        with select.epoll() as watch:
            watch.register(self._socket, 0)  # no event is asked for: a hang-up is reported all the same (epoll_ctl(2))
            await anyio.wait_readable(watch.fileno())

    async def next_head(self) -> Head | None:
        """Return the next request's head, None when the client is done. Raises ProtocolError, EngineError.

        It may wait for the first byte as long as the client likes, but not for the rest.
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
            raise ProtocolError(f"the version of HTTP is not served: {head.third!r}")
        return head

    def _has_begun(self) -> bool:
        """Whether there is more than the empty lines that may precede a request (RFC 9112, section 2.2)."""
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
