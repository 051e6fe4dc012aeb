"""The forwarder's control socket: requests of the engine, and when the forwarder exits. Standard library alone.

Messages are JSON in packets of a SOCK_SEQPACKET socket, with SCM_RIGHTS descriptors:

    {"do": "carry", "key": …, "protocol": …, "target": [address, port]} + socket    start; or change a known key's target
    {"do": "drop", "keys": [...]}      → {"dropped": true}                          the ports are closed
    {"do": "list"}                     → {"key": …} + socket, for each; {"end": true}
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket

from runtime.hints import Any
from runtime.network.forwarder.loop import READ, Loop
from runtime.network.forwarder.tcp import TcpForwarder
from runtime.network.forwarder.udp import UdpForwarder

LONGEST_MESSAGE = 1 << 16
ANSWER_TIMEOUT_S = 5.0
LOOK_S = 5.0
"""How often to check, without an engine, whether the keeper lives: there is no event for the release of a lock."""


class ForwarderControl:
    """The engine's connection, and the forwarded ports by key."""

    def __init__(self, loop: Loop, listener: socket.socket, keeper_lock: str) -> None:
        self._loop = loop
        self._listener = listener
        self._keeper_lock = keeper_lock
        self._engine: socket.socket | None = None
        self._ports: dict[str, TcpForwarder | UdpForwarder] = {}
        listener.setblocking(False)
        loop.watch(listener.fileno(), READ, self._accept)
        loop.later(LOOK_S, self._go_when_alone)

    def _accept(self, _events: int) -> None:
        try:
            engine, _ = self._listener.accept()
        except OSError:
            return
        self._lose_engine()
        engine.settimeout(ANSWER_TIMEOUT_S)
        self._engine = engine
        self._loop.watch(engine.fileno(), READ, self._receive)

    def _lose_engine(self) -> None:
        if self._engine is not None:
            self._loop.forget(self._engine.fileno())
            self._engine.close()
            self._engine = None
            self._loop.later(0 if not self._ports else LOOK_S, self._go_when_alone)

    def _go_when_alone(self) -> None:
        if self._engine is None and self._ports and self._has_keeper():
            self._loop.later(LOOK_S, self._go_when_alone)
        elif self._engine is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._listener.getsockname())
            self._listener.close()  # an engine that is just connecting gets an error, and starts another forwarder
            self._loop.stop()

    def _has_keeper(self) -> bool:
        """Whether a keeper lives: it holds a record lock until it exits (fcntl(2), F_SETLK)."""
        try:
            lock = os.open(self._keeper_lock, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(lock)
        return False

    def _receive(self, _events: int) -> None:
        assert self._engine is not None
        try:
            data, descriptors, _flags, _ = socket.recv_fds(self._engine, LONGEST_MESSAGE, 1)
            if not data:
                raise ConnectionError
            self._handle(json.loads(data), [socket.socket(fileno=one) for one in descriptors])
        except (OSError, ValueError, KeyError):
            self._lose_engine()

    def _handle(self, message: dict[str, Any], sockets: list[socket.socket]) -> None:
        if message["do"] == "carry":
            self._carry(message, sockets[0])
        elif message["do"] == "drop":
            for key in message["keys"]:
                if (port := self._ports.pop(key, None)) is not None:
                    port.close()
            self._send({"dropped": True})
        elif message["do"] == "list":
            for key, port in self._ports.items():
                self._send({"key": key}, port.listener)
            self._send({"end": True})

    def _carry(self, message: dict[str, Any], listener: socket.socket) -> None:
        key = str(message["key"])
        address, number = message["target"]
        known = self._ports.get(key)
        if known is not None:
            listener.close()  # another descriptor of the same socket
            known.target = (address, number)
            return
        kind = TcpForwarder if message["protocol"] == "tcp" else UdpForwarder
        self._ports[key] = kind(self._loop, listener, (address, number))

    def _send(self, message: dict[str, Any], carried: socket.socket | None = None) -> None:
        assert self._engine is not None
        socket.send_fds(self._engine, [json.dumps(message).encode()], [carried.fileno()] if carried is not None else [])
