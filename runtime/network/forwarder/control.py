"""What the engine asks of the forwarder, and when the forwarder goes. Standard library alone.

Messages are JSON on a SOCK_SEQPACKET socket, one a packet, descriptors beside them:

    {"do": "carry", "key": …, "protocol": …, "target": [address, port]} + socket    from now on; a known key is led elsewhere
    {"do": "drop", "keys": [...]}      → {"dropped": true}                          the ports are free
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
"""How often is looked whether a keeper lives, while no engine does: a lock tells nobody that it is free."""


class ForwarderControl:
    """The engine's connection and the ports that are carried, by key."""

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
        self._loop.watch(engine.fileno(), READ, self._hear)

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
            self._listener.close()  # an engine that is just coming learns that nobody is here, and starts another
            self._loop.stop()

    def _has_keeper(self) -> bool:
        """Whether a keeper lives: it has a record lock to its end (fcntl(2), F_SETLK)."""
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

    def _hear(self, _events: int) -> None:
        assert self._engine is not None
        try:
            data, descriptors, _flags, _ = socket.recv_fds(self._engine, LONGEST_MESSAGE, 1)
            if not data:
                raise ConnectionError
            self._do(json.loads(data), [socket.socket(fileno=one) for one in descriptors])
        except (OSError, ValueError, KeyError):
            self._lose_engine()

    def _do(self, message: dict[str, Any], sockets: list[socket.socket]) -> None:
        if message["do"] == "carry":
            self._carry(message, sockets[0])
        elif message["do"] == "drop":
            for key in message["keys"]:
                if (port := self._ports.pop(key, None)) is not None:
                    port.close()
            self._tell({"dropped": True})
        elif message["do"] == "list":
            for key, port in self._ports.items():
                self._tell({"key": key}, port.listener)
            self._tell({"end": True})

    def _carry(self, message: dict[str, Any], listener: socket.socket) -> None:
        key = str(message["key"])
        address, number = message["target"]
        known = self._ports.get(key)
        if known is not None:
            listener.close()  # the same one, come back with another descriptor
            known.target = (address, number)
            return
        kind = TcpForwarder if message["protocol"] == "tcp" else UdpForwarder
        self._ports[key] = kind(self._loop, listener, (address, number))

    def _tell(self, message: dict[str, Any], carried: socket.socket | None = None) -> None:
        assert self._engine is not None
        socket.send_fds(self._engine, [json.dumps(message).encode()], [carried.fileno()] if carried is not None else [])
