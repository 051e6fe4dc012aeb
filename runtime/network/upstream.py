"""Asking name servers what we do not know, for one container.

Servers are asked from the container's own network namespace: its loopback is its own, and a container whose way out is a
VPN asks through it. Those on the loopback of the machine are reached from there only (Docker does the same). Each
question has a socket, thus a port, of its own: who does not see the question can't guess what to answer (RFC 5452).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import anyio

from runtime.network.dns_message import (
    HEADER_BYTES,
    REFUSED,
    SERVFAIL,
    MessageError,
    parse_query,
    respond,
    response_code,
)

DNS_PORT = 53
TIMEOUT_S = 3.0
"""How long one server has; the C library asks again, or gives up, after 5 s (resolv.conf(5), "timeout")."""
MAX_OPEN = 1024
"""How many questions of one container are open at once, as with Docker."""
MAX_WAITING = 1024
"""How many more wait for one of these to end; what is beyond them is refused at once."""
MAX_SOCKETS_AT_ONCE = 64
LARGEST = 65535

Place = tuple[str | int | bytes, ...]
MakeSockets = Callable[[int, int, int], Awaitable[list[socket.socket]]]
"""Returns sockets of a family and a kind, so many, of the container's network namespace."""


@dataclass(frozen=True)
class Server:
    """A name server; one that `is_on_host` is asked from the machine's own network namespace."""

    address: str
    is_on_host: bool = False

    @property
    def family(self) -> int:
        """The address family."""
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET

    @property
    def place(self) -> Place:
        """What a socket connects to; of a link-local address ("fe80::1%eth0") with the interface."""
        numeric = socket.getaddrinfo(self.address, DNS_PORT, self.family, flags=socket.AI_NUMERICHOST)
        return numeric[0][4]


class Upstream:
    """The questions of one container that are open."""

    def __init__(self, servers: Callable[[], Sequence[Server]], make_sockets: MakeSockets) -> None:
        self._servers = servers
        self._sockets = _Sockets(make_sockets)
        self._questions = 0
        self._slots = anyio.Semaphore(MAX_OPEN)

    def close(self) -> None:
        """Close what is kept for the next question."""
        self._sockets.close()

    async def ask(self, data: bytes, kind: int) -> bytes:
        """Return the answer to the question `data`, asked over UDP or TCP (`kind`).

        The next server is asked when one is silent, fails or refuses; when all do, the answer is SERVFAIL. It is REFUSED
        when too many questions are open. Raises MessageError when `data` is no question.
        """
        query = parse_query(data)
        if self._questions >= MAX_OPEN + MAX_WAITING:
            return respond(query, REFUSED)
        self._questions += 1
        try:
            with anyio.move_on_after(TIMEOUT_S) as wait:
                await self._slots.acquire()
            if wait.cancelled_caught:
                return respond(query, REFUSED)
            try:
                return await self._ask_one_after_the_other(data, kind) or respond(query, SERVFAIL)
            finally:
                self._slots.release()
        finally:
            self._questions -= 1

    async def _ask_one_after_the_other(self, data: bytes, kind: int) -> bytes | None:
        ask = _ask_udp if kind == socket.SOCK_DGRAM else _ask_tcp
        for server in self._servers():
            try:
                with anyio.fail_after(TIMEOUT_S):
                    with await self._socket(server, kind) as made:
                        answer = await ask(made, server.place, data)
            except (OSError, TimeoutError, MessageError):
                continue
            if response_code(answer) not in (SERVFAIL, REFUSED):
                return answer
        return None

    async def _socket(self, server: Server, kind: int) -> socket.socket:
        if server.is_on_host:
            return socket.socket(server.family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        return await self._sockets.take(server.family, kind)


class _Sockets:
    """Sockets of a container's network namespace, made together for all questions that wait for one.

    One that is made there stays there, whoever uses it (network_namespaces(7)); but to make it a thread has to go there.
    """

    def __init__(self, make: MakeSockets) -> None:
        self._make = make
        self._lock = anyio.Lock()
        self._wanted: dict[tuple[int, int], int] = {}
        self._made: dict[tuple[int, int], list[socket.socket]] = {}

    async def take(self, family: int, kind: int) -> socket.socket:
        """Return a socket, which the caller closes. Raises OSError."""
        sort = (family, kind)
        made = self._made.setdefault(sort, [])
        self._wanted[sort] = self._wanted.get(sort, 0) + 1
        try:
            async with self._lock:
                if not made:
                    made += await self._make(family, kind, min(self._wanted[sort], MAX_SOCKETS_AT_ONCE))
                return made.pop()
        finally:
            self._wanted[sort] -= 1

    def close(self) -> None:
        """Close those that nobody came for."""
        for made in self._made.values():
            while made:
                made.pop().close()


async def _ask_udp(upstream: socket.socket, server: Place, data: bytes) -> bytes:
    upstream.connect(server)
    upstream.send(data)
    while True:
        await anyio.wait_readable(upstream)
        answer = upstream.recv(LARGEST)
        if answer[:2] == data[:2] and len(answer) >= HEADER_BYTES:
            return answer


async def _ask_tcp(upstream: socket.socket, server: Place, data: bytes) -> bytes:
    try:
        upstream.connect(server)
    except BlockingIOError:
        await anyio.wait_writable(upstream)
    await send_all(upstream, struct.pack("!H", len(data)) + data)
    (length,) = struct.unpack("!H", await receive(upstream, 2))
    if length < HEADER_BYTES:
        raise MessageError("shorter than a header")
    return await receive(upstream, length)


async def receive(connection: socket.socket, size: int) -> bytes:
    """Return exactly `size` bytes of a connection. Raises MessageError when it ends before, OSError."""
    data = b""
    while len(data) < size:
        await anyio.wait_readable(connection)
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise MessageError("the other side hung up")
        data += chunk
    return data


async def send_all(connection: socket.socket, data: bytes) -> None:
    """Send `data`. Raises OSError."""
    while data:
        await anyio.wait_writable(connection)
        data = data[connection.send(data) :]
