"""The embedded resolver: names of containers from our own table, the rest from the host's resolvers."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
import anyio.abc

from runtime.network.dns_message import (
    FORMERR,
    NOERROR,
    NXDOMAIN,
    SERVFAIL,
    TYPE_A,
    TYPE_AAAA,
    TYPE_PTR,
    Address,
    MessageError,
    parse_query,
    respond,
    reverse_address,
)

DNS_PORT = 53
FORWARD_TIMEOUT_S = 3.0
TCP_IDLE_S = 10.0
LARGEST = 65535

Lookup = Callable[[str], Sequence[Address] | None]
"""A name's addresses in the asker's networks; None when the name is not ours."""
ReverseLookup = Callable[[Address], str | None]
Upstream = Callable[[], Sequence[str]]
"""The servers that answer what is not ours."""


def host_resolvers() -> list[str]:
    """Return the name servers of the host's /etc/resolv.conf."""
    return _host_says("nameserver")


def host_search() -> list[str]:
    """Return the domains in which the host looks names up (its /etc/resolv.conf)."""
    return _host_says("search")


def _host_says(keyword: str) -> list[str]:
    try:
        lines = Path("/etc/resolv.conf").read_text().splitlines()
    except OSError:
        return []
    return [word for line in lines if line.split()[:1] == [keyword] for word in line.split()[1:]]


def is_reached_from_containers(server: str) -> bool:
    """Return whether a name server of the host is one inside a container too: not on the host's own loopback."""
    return not (server.startswith("127.") or server == "::1")


class Resolver:
    """Answers the questions of one network namespace, on sockets that were bound inside it."""

    def __init__(
        self, udp: socket.socket, tcp: socket.socket, lookup: Lookup, reverse: ReverseLookup, upstream: Upstream
    ) -> None:
        self._udp = udp
        self._tcp = tcp
        self._lookup = lookup
        self._reverse = reverse
        self._upstream = upstream

    async def serve(self) -> None:
        """Answer until cancelled; closes the sockets."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._serve_udp, group)
                group.start_soon(self._serve_tcp, group)
        finally:
            self._udp.close()
            self._tcp.close()

    async def _serve_udp(self, group: anyio.abc.TaskGroup) -> None:
        while True:
            await anyio.wait_readable(self._udp)
            try:
                data, peer = self._udp.recvfrom(LARGEST)
            except OSError:
                continue
            known = self._own(data, is_udp=True)
            if known:
                self._send(known, peer)
            elif known is None:
                group.start_soon(self._forward_udp, data, peer)

    def _send(self, data: bytes, peer: tuple[str, int]) -> None:
        try:
            self._udp.sendto(data, peer)
        except OSError:
            return  # the asker went away, or its namespace did

    async def _serve_tcp(self, group: anyio.abc.TaskGroup) -> None:
        while True:
            await anyio.wait_readable(self._tcp)
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                continue
            group.start_soon(self._converse, connection)

    async def _converse(self, connection: socket.socket) -> None:
        """Answer the questions of a connection, one after the other, until the asker hangs up or is silent."""
        with connection:
            connection.setblocking(False)
            while True:
                with anyio.move_on_after(TCP_IDLE_S) as silence:
                    try:
                        (length,) = struct.unpack("!H", await _exactly(connection, 2))
                        data = await _exactly(connection, length)
                        answer = self._own(data, is_udp=False)
                        if answer is None:
                            answer = await self._forward(data, socket.SOCK_STREAM)
                        await _send_all(connection, struct.pack("!H", len(answer)) + answer)
                    except (OSError, MessageError):
                        return
                if silence.cancelled_caught:
                    return

    def _own(self, data: bytes, *, is_udp: bool) -> bytes | None:
        """Return the answer when it is ours to give (nothing to what is no question), else None."""
        try:
            query = parse_query(data)
        except MessageError:
            return data[:2] + struct.pack("!HHHHH", 0x8080 | FORMERR, 0, 0, 0, 0) if len(data) >= 12 else b""
        if query.type == TYPE_PTR:
            address = reverse_address(query.name)
            name = self._reverse(address) if address is not None else None
            return respond(query, NOERROR, [name]) if name else None
        addresses = self._lookup(query.name)
        if addresses is None:
            # a name without a dot is nobody's outside: the answer is final, and quick
            return respond(query, NXDOMAIN) if "." not in query.name and query.name else None
        wanted = {TYPE_A: 4, TYPE_AAAA: 6}.get(query.type)
        chosen = [address for address in addresses if address.version == wanted]
        random.shuffle(chosen)
        return respond(query, NOERROR, chosen, query.udp_bytes if is_udp else LARGEST)

    async def _forward_udp(self, data: bytes, peer: tuple[str, int]) -> None:
        self._send(await self._forward(data, socket.SOCK_DGRAM), peer)

    async def _forward(self, data: bytes, kind: int) -> bytes:
        """Return what the first server that answers says to the question `data`; asked the way that we were."""
        ask = _ask_udp if kind == socket.SOCK_DGRAM else _ask_tcp
        for server in self._upstream():
            try:
                with anyio.fail_after(FORWARD_TIMEOUT_S):
                    return await ask(server, data)
            except (OSError, TimeoutError, MessageError):
                continue
        return respond(parse_query(data), SERVFAIL)


async def _ask_udp(server: str, data: bytes) -> bytes:
    with socket.socket(_family(server), socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as upstream:
        upstream.connect((server, DNS_PORT))
        upstream.send(data)
        while True:
            await anyio.wait_readable(upstream)
            answer = upstream.recv(LARGEST)
            if answer[:2] == data[:2]:
                return answer


async def _ask_tcp(server: str, data: bytes) -> bytes:
    with socket.socket(_family(server), socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as upstream:
        try:
            upstream.connect((server, DNS_PORT))
        except BlockingIOError:
            await anyio.wait_writable(upstream)
        await _send_all(upstream, struct.pack("!H", len(data)) + data)
        (length,) = struct.unpack("!H", await _exactly(upstream, 2))
        return await _exactly(upstream, length)


def _family(server: str) -> int:
    return socket.AF_INET6 if ":" in server else socket.AF_INET


async def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        await anyio.wait_readable(connection)
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise MessageError("the other side hung up")
        data += chunk
    return data


async def _send_all(connection: socket.socket, data: bytes) -> None:
    while data:
        await anyio.wait_writable(connection)
        data = data[connection.send(data) :]
