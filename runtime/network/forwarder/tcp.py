"""Forwards TCP connections of a port to a container with splice(2). Standard library alone."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

from runtime.network.forwarder.loop import READ, WRITE, Loop

PIPE_BYTES = 1 << 20
CONNECT_TIMEOUT_S = 10.0
ACCEPTED_AT_ONCE = 64
MOVES_AT_ONCE = 16
"""After this many splice calls for a connection, others get their turn."""
PAUSE_S = 0.1
"""How long accepting is paused when no descriptor is available."""
RESET_AT_CLOSE = struct.pack("ii", 1, 0)
NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Target = tuple[str, int]


def family_of(target: Target) -> int:
    """Return the address family of the target."""
    return socket.AF_INET6 if ":" in target[0] else socket.AF_INET


class TcpForwarder:
    """All connections of one listening socket."""

    def __init__(self, loop: Loop, listener: socket.socket, target: Target) -> None:
        self.listener = listener
        self.target = target
        self._loop = loop
        self._open: set[ForwardedConnection] = set()
        listener.setblocking(False)
        loop.watch(listener.fileno(), READ, self._accept)

    def _accept(self, _events: int) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                client, _ = self.listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in NO_ROOM:
                    self._loop.watch(self.listener.fileno(), 0, self._accept)
                    self._loop.later(PAUSE_S, self._accept_again)
                    return
                continue  # the client has disconnected
            client.setblocking(False)
            try:
                self._open.add(ForwardedConnection(self._loop, client, self.target, self._open.discard))
            except OSError:
                _refuse(client)

    def _accept_again(self) -> None:
        if self.listener.fileno() >= 0:
            self._loop.watch(self.listener.fileno(), READ, self._accept)

    def close(self) -> None:
        """Close the port and all connections."""
        self._loop.forget(self.listener.fileno())
        self.listener.close()
        for one in list(self._open):
            one.close()


class ForwardedConnection:
    """A client and its connection to the container."""

    def __init__(
        self, loop: Loop, client: socket.socket, target: Target, closed: Callable[[ForwardedConnection], None]
    ) -> None:
        self._loop = loop
        self._client = client
        self._closed = closed
        self._flows: tuple[_Flow, ...] = ()
        self._server = socket.socket(family_of(target), socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            with suppress(BlockingIOError):
                self._server.connect(target)
        except OSError:
            self._server.close()
            raise
        loop.watch(self._server.fileno(), WRITE, self._connected)
        loop.later(CONNECT_TIMEOUT_S, self._give_up)

    def _connected(self, _events: int) -> None:
        try:
            if number := self._server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(number, os.strerror(number))
            for one in (self._client, self._server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._flows += (_Flow(self._client, self._server),)
            self._flows += (_Flow(self._server, self._client),)
        except OSError:
            self._fail()
            return
        self._move(0)

    def _give_up(self) -> None:
        if not self._flows and self._client.fileno() >= 0:
            self._fail()

    def _fail(self) -> None:
        """Reset the client's connection, as a closed port would."""
        self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        self.close()

    def _move(self, _events: int) -> None:
        """Move data in both directions, then wait for the sides that block."""
        up, down = self._flows
        try:
            up.move()
            down.move()
        except OSError:  # one side is closed: close the other
            self.close()
            return
        if up.is_done and down.is_done:
            self.close()
            return
        self._loop.watch(self._client.fileno(), up.reads | down.writes, self._move)
        self._loop.watch(self._server.fileno(), down.reads | up.writes, self._move)

    def close(self) -> None:
        """Close both sides."""
        for one in (self._client, self._server):
            if one.fileno() >= 0:
                self._loop.forget(one.fileno())
                one.close()
        for flow in self._flows:
            flow.close()
        self._closed(self)


class _Flow:
    """One direction: from `source` through a pipe to `sink`, then EOF. `reads`, `writes`: epoll events it waits for."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self._source = source
        self._sink = sink
        self._outlet, self._inlet = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with suppress(OSError):  # beyond the user's limit (pipe(7), pipe-user-pages-soft) the pipe stays small
            fcntl.fcntl(self._inlet, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._held_bytes = 0
        self._has_ended = False
        self.is_done = False
        self.reads, self.writes = 0, 0

    def move(self) -> None:
        """Move bytes until one side blocks. Raises OSError if one is closed."""
        flags = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
        for _ in range(MOVES_AT_ONCE):
            try:
                if self._held_bytes:
                    self._held_bytes -= os.splice(self._outlet, self._sink.fileno(), self._held_bytes, flags=flags)
                elif self._has_ended:
                    if not self.is_done:
                        self._sink.shutdown(socket.SHUT_WR)
                        self.is_done = True
                    break
                else:
                    moved = os.splice(self._source.fileno(), self._inlet, PIPE_BYTES, flags=flags)
                    self._held_bytes, self._has_ended = moved, not moved
            except BlockingIOError:
                break
        self.writes = WRITE if self._held_bytes else 0
        self.reads = 0 if self._held_bytes or self._has_ended else READ

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._outlet)
        os.close(self._inlet)


def _refuse(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
    client.close()
