"""The keeper's listening socket, its connection to the engine, and clients that have not identified themselves yet."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable

from runtime.hints import Any
from runtime.keeper import wire
from runtime.linux.peer import peer_pid

MAX_PENDING, WAITING = 8, 64
UNSENT = 64
"""How many answers are queued for an engine that does not read before its requests are no longer read."""

Message = dict[str, Any]


class EngineConnection:
    """The listening socket, pending clients, and the one engine.

    A client becomes the engine by its first message, if that is `hello`; an earlier engine is then disconnected with
    {"replaced": true}. `on_lost` is called when the engine's connection ends or fails, `log` with the reason why
    a message was malformed.
    """

    def __init__(self, path: str, poll: select.epoll, on_lost: Callable[[], None], log: Callable[[str], None]) -> None:
        self.engine: socket.socket | None = None
        self._pending_clients: dict[int, socket.socket] = {}
        self._unsent: list[tuple[Message, list[int]]] = []
        self._poll = poll
        self._on_lost = on_lost
        self._log = log
        self._listener = socket.socket(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        )
        self._listener.bind(path)
        os.chmod(path, 0o600)
        self._listener.listen(WAITING)
        poll.register(self._listener.fileno(), select.EPOLLIN)

    def receive(self, descriptor: int, events: int) -> tuple[Message, list[int], bool] | None:
        """Handle an event of one of the sockets; return (request, descriptors, is it a new engine's hello), if it was one."""
        before = self.engine
        try:
            heard = self._handle(descriptor, events)
        except wire.MalformedError as error:
            self._log(f"a malformed message of the engine was dropped: {error}")
            return None
        if heard is None:
            return None
        message, descriptors = heard
        if message is None:
            self._on_lost()
            return None
        return message, descriptors, self.engine is not before

    def _handle(self, descriptor: int, events: int) -> tuple[Message | None, list[int]] | None:
        """Return a message of the engine and its descriptors; the message is None at the end of its connection."""
        if descriptor == self._listener.fileno():
            self._accept()
        elif descriptor in self._pending_clients:
            return self._identify(descriptor)
        elif self.engine is not None and descriptor == self.engine.fileno():
            if events & select.EPOLLOUT:
                self._send_rest()
                return None
            try:
                return wire.receive(self.engine)
            except BlockingIOError:
                return None
            except OSError:
                return None, []
        return None

    def _accept(self) -> None:
        """Accept a client. The oldest pending one is dropped when there are too many."""
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        connection.setblocking(False)
        if len(self._pending_clients) == MAX_PENDING:
            self._detach(next(iter(self._pending_clients))).close()
        self._pending_clients[connection.fileno()] = connection
        self._poll.register(connection.fileno(), select.EPOLLIN)

    def _detach(self, descriptor: int) -> socket.socket:
        self._poll.unregister(descriptor)
        return self._pending_clients.pop(descriptor)

    def _identify(self, descriptor: int) -> tuple[Message | None, list[int]] | None:
        """Read a client's first message: `hello` makes it the engine, anything else closes its connection."""
        connection = self._detach(descriptor)
        try:
            message, carried = wire.receive(connection)
        except (OSError, wire.MalformedError):
            message, carried = None, []
        if message is None or message.get("do") != "hello":
            for one in carried:
                os.close(one)
            connection.close()
            return None
        if self.engine is not None:
            self.send({"replaced": True}, [])
        self.drop()
        self.engine = connection
        self._poll.register(connection.fileno(), select.EPOLLIN)
        return message, carried

    @property
    def pid(self) -> int:
        """The PID of the engine, 0 without one."""
        return 0 if self.engine is None else peer_pid(self.engine)

    def drop(self) -> None:
        """Close the engine's connection."""
        if self.engine is not None:
            self._poll.unregister(self.engine.fileno())
            self.engine.close()
            self.engine = None
        for _, descriptors in self._unsent:
            for descriptor in descriptors:
                os.close(descriptor)
        self._unsent = []

    def send(self, message: Message, descriptors: list[int]) -> None:
        """Send `message` if an engine is connected; queue it if the socket is full."""
        if self.engine is None:
            return
        try:
            if not self._unsent:
                wire.send(self.engine, message, descriptors)
                return
        except BlockingIOError:  # the engine does not read; the loop must not wait for it
            pass
        except OSError:
            self._on_lost()
            return
        self._unsent.append((message, [os.dup(descriptor) for descriptor in descriptors]))
        wanted = select.EPOLLOUT if len(self._unsent) >= UNSENT else select.EPOLLIN | select.EPOLLOUT
        self._poll.modify(self.engine.fileno(), wanted)

    def _send_rest(self) -> None:
        assert self.engine is not None
        while self._unsent:
            message, descriptors = self._unsent[0]
            try:
                wire.send(self.engine, message, descriptors)
            except BlockingIOError:
                return
            except OSError:
                self._on_lost()
                return
            del self._unsent[0]
            for descriptor in descriptors:
                os.close(descriptor)
        self._poll.modify(self.engine.fileno(), select.EPOLLIN)
