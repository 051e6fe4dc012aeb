"""The embedded resolver: answers names of containers itself, and forwards other queries to upstream servers."""

from __future__ import annotations

import errno
import os
import random
import socket
import struct
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import anyio
import anyio.abc

from runtime.network.dns_message import (
    FORMERR,
    HEADER_BYTES,
    NOERROR,
    TYPE_A,
    TYPE_AAAA,
    TYPE_MX,
    TYPE_PTR,
    Address,
    MessageError,
    parse_query,
    respond,
    reverse_address,
)
from runtime.network.upstream import LARGEST, Upstream, receive, send_all

HOST_FILE = "/etc/resolv.conf"
SETTLED_NS = 1_000_000_000
"""A file modified more recently may change again with the same timestamp: their granularity is coarse."""
TCP_IDLE_S = 10.0
MAX_CONNECTIONS = 256
"""The maximum of TCP connections of one container: each needs a descriptor of the engine."""
NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
PAUSE_S = 0.1

Lookup = Callable[[str], Sequence[Address] | None]
"""Returns a name's addresses on the container's networks; None if it is not a container's name."""
ReverseLookup = Callable[[Address], str | None]
VERSIONS = {TYPE_A: 4, TYPE_AAAA: 6}
"""Type of a question → IP version."""


def host_resolvers() -> list[str]:
    """Return the name servers of the host's /etc/resolv.conf."""
    return _host_says("nameserver")


def host_search() -> list[str]:
    """Return the search domains of the host's /etc/resolv.conf."""
    return _host_says("search")


def _host_says(keyword: str) -> list[str]:
    try:
        now = os.stat(HOST_FILE)
        if time.time_ns() - now.st_ctime_ns < SETTLED_NS:
            return _words(keyword)
        return list(_kept_words(keyword, (now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)))
    except OSError:
        return []


@lru_cache(maxsize=4)
def _kept_words(keyword: str, version: tuple[int, ...]) -> list[str]:
    """Cache `_words` by the file's `version`: each start of a container asks four times."""
    return _words(keyword)


def _words(keyword: str) -> list[str]:
    lines = Path(HOST_FILE).read_text().splitlines()
    return [word for line in lines if line.split()[:1] == [keyword] for word in line.split()[1:]]


def is_reached_from_containers(server: str) -> bool:
    """Return whether a name server of the host can be reached from a container: it is not on loopback."""
    return not (server.startswith("127.") or server == "::1")


class Resolver:
    """Answers the queries of one network namespace, on sockets that were bound inside it.

    Other queries go to `upstream`. If the container has set "ndots" (`keeps_short_names`, resolv.conf(5)), names without
    a dot are not forwarded: its C library tries them with the search domains.
    """

    def __init__(
        self,
        udp: socket.socket,
        tcp: socket.socket,
        lookup: Lookup,
        reverse: ReverseLookup,
        upstream: Upstream,
        keeps_short_names: Callable[[], bool],
    ) -> None:
        self._udp = udp
        self._tcp = tcp
        self._lookup = lookup
        self._reverse = reverse
        self._upstream = upstream
        self._keeps_short_names = keeps_short_names
        self._connections = 0

    async def serve(self) -> None:
        """Answer until cancelled; closes the sockets."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._serve_udp, group)
                group.start_soon(self._serve_tcp, group)
        finally:
            self._udp.close()
            self._tcp.close()
            self._upstream.close()

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
                group.start_soon(self._forward, data, peer)

    def _send(self, data: bytes, peer: tuple[str, int]) -> None:
        try:
            self._udp.sendto(data, peer)
        except OSError:
            return  # the client or its namespace is gone

    async def _serve_tcp(self, group: anyio.abc.TaskGroup) -> None:
        while True:
            await anyio.wait_readable(self._tcp)
            try:
                connection, _ = self._tcp.accept()
            except OSError as error:
                if error.errno in NO_ROOM:  # the pending connection stays in the backlog: do not retry in a busy loop
                    await anyio.sleep(PAUSE_S)
                continue
            if self._connections >= MAX_CONNECTIONS:
                connection.close()
                continue
            self._connections += 1
            group.start_soon(self._serve_connection, connection)

    async def _serve_connection(self, connection: socket.socket) -> None:
        """Answer the queries of a TCP connection until the client closes it or is idle for TCP_IDLE_S."""
        try:
            await self._answer_all(connection)
        finally:
            self._connections -= 1

    async def _answer_all(self, connection: socket.socket) -> None:
        with connection:
            connection.setblocking(False)
            while True:
                with anyio.move_on_after(TCP_IDLE_S) as silence:
                    try:
                        (length,) = struct.unpack("!H", await receive(connection, 2))
                        data = await receive(connection, length)
                        answer = self._own(data, is_udp=False)
                        if answer is None:
                            answer = await self._upstream.ask(data, socket.SOCK_STREAM)
                        await send_all(connection, struct.pack("!H", len(answer)) + answer)
                    except (OSError, MessageError):
                        return
                if silence.cancelled_caught:
                    return

    def _own(self, data: bytes, *, is_udp: bool) -> bytes | None:
        """Return our own response (b"" if the message is too short to answer), None if it must be forwarded.

        We answer A and AAAA queries for names of containers, and MX queries for them with no record (RFC 5321, section 5.1:
        mail then goes to the address). All other types are forwarded, as by Docker's resolver.
        """
        try:
            query = parse_query(data)
        except MessageError:
            return data[:2] + struct.pack("!HHHHH", 0x8080 | FORMERR, 0, 0, 0, 0) if len(data) >= HEADER_BYTES else b""
        if query.type == TYPE_PTR:
            address = reverse_address(query.name)
            name = self._reverse(address) if address is not None else None
            return respond(query, NOERROR, [name]) if name else None
        if query.type not in (*VERSIONS, TYPE_MX):
            return None
        addresses = self._lookup(query.name)
        if addresses is None:
            is_kept = query.type in VERSIONS and query.name and "." not in query.name and self._keeps_short_names()
            return respond(query, NOERROR) if is_kept else None
        chosen = [address for address in addresses if address.version == VERSIONS.get(query.type)]
        random.shuffle(chosen)
        return respond(query, NOERROR, chosen, query.udp_bytes if is_udp else LARGEST)

    async def _forward(self, data: bytes, peer: tuple[str, int]) -> None:
        self._send(await self._upstream.ask(data, socket.SOCK_DGRAM), peer)
