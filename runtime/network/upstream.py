"""Forwards DNS queries of one container to name servers.

Servers are asked from the container's network namespace, so that a container whose default route is a VPN asks through
that. Servers on the host's loopback are asked from the host's namespace (as in Docker). Each query has its own socket and
so its own source port, against spoofed responses (RFC 5452).
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
"""Timeout of one server; the C library repeats the query after 5 s (resolv.conf(5), "timeout")."""
MAX_OPEN = 1024
"""The maximum of concurrent queries of one container, as in Docker."""
MAX_WAITING = 1024
"""The maximum of queries that wait for one of these; further ones are refused at once."""
MAX_SOCKETS_AT_ONCE = 64
LARGEST = 65535

Place = tuple[str | int | bytes, ...]
MakeSockets = Callable[[int, int, int], Awaitable[list[socket.socket]]]
"""Creates sockets in the container's network namespace: (family, kind, count)."""


@dataclass(frozen=True)
class NameServer:
    """A name server; one that `is_on_host` is asked from the host's network namespace."""

    address: str
    is_on_host: bool = False

    @property
    def family(self) -> int:
        """The address family."""
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET

    @property
    def place(self) -> Place:
        """The address for connect(2); for a link-local one ("fe80::1%eth0") with the scope ID."""
        numeric = socket.getaddrinfo(self.address, DNS_PORT, self.family, flags=socket.AI_NUMERICHOST)
        return numeric[0][4]


class Upstream:
    """The open queries of one container."""

    def __init__(self, servers: Callable[[], Sequence[NameServer]], make_sockets: MakeSockets) -> None:
        self._servers = servers
        self._sockets = _Sockets(make_sockets)
        self._questions = 0
        self._slots = anyio.Semaphore(MAX_OPEN)

    def close(self) -> None:
        """Close unused sockets."""
        self._sockets.close()

    async def ask(self, data: bytes, kind: int) -> bytes:
        """Forward the query `data` over UDP or TCP (`kind`) and return the response.

        The next server is asked if one does not answer, fails or refuses. If all do, the response is SERVFAIL; if too many
        queries are open, REFUSED. Raises MessageError if `data` is not a query.
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

    async def _socket(self, server: NameServer, kind: int) -> socket.socket:
        if server.is_on_host:
            return socket.socket(server.family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        return await self._sockets.take(server.family, kind)


class _Sockets:
    """Sockets of a container's network namespace, created together for all queries that wait for one.

    A socket stays in the namespace in which it was created (network_namespaces(7)), but for creating it a thread must
    enter that.
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
        """Close unused sockets."""
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
    """Receive exactly `size` bytes. Raises MessageError at EOF, OSError."""
    data = b""
    while len(data) < size:
        await anyio.wait_readable(connection)
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise MessageError("the connection was closed")
        data += chunk
    return data


async def send_all(connection: socket.socket, data: bytes) -> None:
    """Send `data`. Raises OSError."""
    while data:
        await anyio.wait_writable(connection)
        data = data[connection.send(data) :]
