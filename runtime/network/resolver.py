"""The embedded resolver: names of containers from our own table, the rest from the host's resolvers."""

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
"""A file that changed more recently may change again without a new time: file systems count these in coarse steps."""
TCP_IDLE_S = 10.0
MAX_CONVERSATIONS = 256
"""How many TCP connections one container may have open: each takes a descriptor of the engine."""
NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
PAUSE_S = 0.1

Lookup = Callable[[str], Sequence[Address] | None]
"""A name's addresses in the asker's networks; None when the name is not ours."""
ReverseLookup = Callable[[Address], str | None]
VERSIONS = {TYPE_A: 4, TYPE_AAAA: 6}
"""The version of IP that a question asks an address of."""


def host_resolvers() -> list[str]:
    """Return the name servers of the host's /etc/resolv.conf."""
    return _host_says("nameserver")


def host_search() -> list[str]:
    """Return the domains in which the host looks names up (its /etc/resolv.conf)."""
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
    """Return `_words` of a `version` of the file: each start of a container asks four times."""
    return _words(keyword)


def _words(keyword: str) -> list[str]:
    lines = Path(HOST_FILE).read_text().splitlines()
    return [word for line in lines if line.split()[:1] == [keyword] for word in line.split()[1:]]


def is_reached_from_containers(server: str) -> bool:
    """Return whether a name server of the host is one inside a container too: not on the host's own loopback."""
    return not (server.startswith("127.") or server == "::1")


class Resolver:
    """Answers the questions of one network namespace, on sockets that were bound inside it.

    `upstream` answers what is not ours. A container that `keeps_short_names` completes names without a dot by itself
    (resolv.conf(5), "ndots"): where they are nobody's here, they are asked of nobody else.
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
        self._conversations = 0

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
            return  # the asker went away, or its namespace did

    async def _serve_tcp(self, group: anyio.abc.TaskGroup) -> None:
        while True:
            await anyio.wait_readable(self._tcp)
            try:
                connection, _ = self._tcp.accept()
            except OSError as error:
                if error.errno in NO_ROOM:  # else the waiting connection would be tried again and again
                    await anyio.sleep(PAUSE_S)
                continue
            if self._conversations >= MAX_CONVERSATIONS:
                connection.close()
                continue
            self._conversations += 1
            group.start_soon(self._converse, connection)

    async def _converse(self, connection: socket.socket) -> None:
        """Answer the questions of a connection, one after the other, until the asker hangs up or is silent."""
        try:
            await self._answer_all(connection)
        finally:
            self._conversations -= 1

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
        """Return the answer when it is ours to give (nothing to what is no question), else None.

        Ours are addresses of our names, and that these have no mail server of their own (RFC 5321, section 5.1: then their
        address is it); whatever else there is to ask of a name is asked of the name servers, as by Docker's resolver.
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
