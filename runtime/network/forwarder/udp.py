"""Forwards UDP datagrams of a port to a container, with a socket for each client. Standard library alone."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from functools import partial

from runtime.hints import Any
from runtime.network.forwarder.loop import READ, Loop
from runtime.network.forwarder.tcp import Target, family_of

IDLE_S = 90.0
LOOK_S = 15.0
MAX_CLIENTS = 1024
DATAGRAM_BYTES = 65535
AT_ONCE = 64


class UdpForwarder:
    """All clients of one bound socket."""

    def __init__(self, loop: Loop, listener: socket.socket, target: Target) -> None:
        self.listener = listener
        self._target = target
        self._loop = loop
        self._clients: dict[Any, _Client] = {}
        listener.setblocking(False)
        loop.watch(listener.fileno(), READ, self._receive)

    @property
    def target(self) -> Target:
        """The container's address and port."""
        return self._target

    @target.setter
    def target(self, target: Target) -> None:
        """Change the target; sockets to the former one are closed."""
        if target != self._target:
            self._target = target
            self._drop_all()

    def _receive(self, _events: int) -> None:
        for _ in range(AT_ONCE):
            try:
                data, peer = self.listener.recvfrom(DATAGRAM_BYTES)
            except OSError:
                return
            with suppress(OSError):  # datagrams may be lost
                self._client(peer).send(data)

    def _client(self, peer: Any) -> _Client:
        client = self._clients.get(peer)
        if client is None:
            if len(self._clients) >= MAX_CLIENTS:
                self._drop(next(iter(self._clients)))
            if not self._clients:
                self._loop.later(LOOK_S, self._drop_idle)
            client = self._clients[peer] = _Client(self._target)
            self._loop.watch(client.server.fileno(), READ, partial(self._answer, peer))
        return client

    def _answer(self, peer: Any, _events: int) -> None:
        client = self._clients[peer]
        for _ in range(AT_ONCE):
            try:
                data = client.server.recv(DATAGRAM_BYTES)
            except OSError:
                return
            client.used_at = time.monotonic()
            with suppress(OSError):
                self.listener.sendto(data, peer)

    def _drop_idle(self) -> None:
        long_ago = time.monotonic() - IDLE_S
        for peer in [peer for peer, client in self._clients.items() if client.used_at < long_ago]:
            self._drop(peer)
        if self._clients:
            self._loop.later(LOOK_S, self._drop_idle)

    def _drop(self, peer: Any) -> None:
        client = self._clients.pop(peer)
        self._loop.forget(client.server.fileno())
        client.server.close()

    def _drop_all(self) -> None:
        for peer in list(self._clients):
            self._drop(peer)

    def close(self) -> None:
        """Close the port and the sockets of all clients."""
        self._loop.forget(self.listener.fileno())
        self.listener.close()
        self._drop_all()


class _Client:
    def __init__(self, target: Target) -> None:
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self.server = socket.socket(family_of(target), kind)
        self.used_at = time.monotonic()
        try:
            self.server.connect(target)
        except OSError:
            self.server.close()
            raise

    def send(self, data: bytes) -> None:
        self.used_at = time.monotonic()
        self.server.send(data)
