"""What nftables can't turn to a container, carried by the engine.

That is connections to this machine's IPv6 addresses and, where the bridges are in a namespace of their own, all.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import anyio
import anyio.abc

PIPE_BYTES = 1 << 20
CONNECT_TIMEOUT_S = 10.0
UDP_IDLE_S = 90.0
UDP_CLIENTS = 1024
DATAGRAM_BYTES = 65535
RESET_AT_CLOSE = struct.pack("ii", 1, 0)

Target = tuple[str, int]
MakeSocket = Callable[[int, int], socket.socket]
"""Returns a socket of a family and a kind from which containers are reached."""


async def forward_tcp(listener: socket.socket, target: Target, make: MakeSocket) -> None:
    """Connect every client of `listener` to `target`, until cancelled; bytes move in the kernel (splice(2))."""
    async with anyio.create_task_group() as group:
        while True:
            await anyio.wait_readable(listener)
            try:
                client, _ = listener.accept()
            except OSError:
                continue
            client.setblocking(False)
            group.start_soon(_carry, client, target, make)


async def _carry(client: socket.socket, target: Target, make: MakeSocket) -> None:
    with client, make(_family(target), socket.SOCK_STREAM) as server:
        try:
            with anyio.fail_after(CONNECT_TIMEOUT_S):
                await _connect(server, target)
        except (OSError, TimeoutError):
            # as the container itself would: nobody listens there
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            return
        for one in (client, server):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with anyio.create_task_group() as group:
            group.start_soon(_pour, client, server)
            group.start_soon(_pour, server, client)


def _family(target: Target) -> int:
    return socket.AF_INET6 if ":" in target[0] else socket.AF_INET


async def _connect(server: socket.socket, target: Target) -> None:
    try:
        server.connect(target)
    except BlockingIOError:
        await anyio.wait_writable(server)
        if error := server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, os.strerror(error)) from None


async def _pour(source: socket.socket, sink: socket.socket) -> None:
    """Move all that `source` sends to `sink`, then its end."""
    with ExitStack() as stack:
        outlet, inlet = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        stack.callback(os.close, outlet)
        stack.callback(os.close, inlet)
        with suppress(OSError):  # past the user's limit of pipe memory a small pipe does too
            fcntl.fcntl(inlet, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        try:
            while count := await _splice(source.fileno(), inlet, PIPE_BYTES, source, None):
                while count:
                    count -= await _splice(outlet, sink.fileno(), count, None, sink)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            # one side is gone: the other learns of it
            for one in (source, sink):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)


async def _splice(
    source: int, sink: int, count: int, readable: socket.socket | None, writable: socket.socket | None
) -> int:
    while True:
        try:
            return os.splice(source, sink, count, flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            if readable is not None:
                await anyio.wait_readable(readable)
            elif writable is not None:
                await anyio.wait_writable(writable)


async def forward_udp(listener: socket.socket, target: Target, make: MakeSocket) -> None:
    """Carry the datagrams of every client of `listener` to `target` and the answers back, until cancelled."""
    clients: dict[Any, _UdpClient] = {}
    async with anyio.create_task_group() as group:
        while True:
            await anyio.wait_readable(listener)
            try:
                data, peer = listener.recvfrom(DATAGRAM_BYTES)
            except OSError:
                continue
            client = clients.get(peer)
            if client is None:
                if len(clients) >= UDP_CLIENTS:
                    clients.pop(next(iter(clients))).scope.cancel()
                client = clients[peer] = _UdpClient(listener, peer, target, make)
                group.start_soon(client.answer, clients)
            client.send(data)


class _UdpClient:
    def __init__(self, listener: socket.socket, peer: Any, target: Target, make: MakeSocket) -> None:
        self.scope = anyio.CancelScope()
        self._listener = listener
        self._peer = peer
        self._server = make(_family(target), socket.SOCK_DGRAM)
        self._server.connect(target)

    def send(self, data: bytes) -> None:
        self.scope.deadline = anyio.current_time() + UDP_IDLE_S
        with suppress(OSError):  # as on any wire, a datagram may be lost
            self._server.send(data)

    async def answer(self, clients: dict[Any, _UdpClient]) -> None:
        with self._server, self.scope:
            while True:
                await anyio.wait_readable(self._server)
                with suppress(OSError):
                    self._listener.sendto(self._server.recv(DATAGRAM_BYTES), self._peer)
                    self.scope.deadline = anyio.current_time() + UDP_IDLE_S
        if clients.get(self._peer) is self:
            del clients[self._peer]
