"""The engine's client of the forwarder: starts it or connects to a running one, and sends it ports to forward."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.abc

from runtime.errors import InternalError
from runtime.network.forwarder.control import LONGEST_MESSAGE
from runtime.network.forwarder.tcp import Target
from runtime.network.namespace_thread import NamespaceThread
from runtime.paths import Paths

ANSWER_TIMEOUT_S = 5.0
STARTS = 2
"""Attempts to send a message: a running forwarder may be about to exit."""


@dataclass(frozen=True)
class Carried:
    """A bound socket of the host and the `target` to which its traffic is forwarded."""

    socket: socket.socket
    protocol: str
    target: Target

    @property
    def key(self) -> str:
        """The port's key in messages."""
        return key_of(self.socket, self.protocol)


def key_of(bound: socket.socket, protocol: str) -> str:
    """Return the key of a bound socket: protocol, address and port."""
    address, port = bound.getsockname()[:2]
    return port_key(protocol, address, port)


def port_key(protocol: str, address: str, port: int) -> str:
    """Return the key of a port of the host."""
    return f"{protocol} [{address}]:{port}"


class Forwarder:
    """One process for all ports of an engine; it is started when the first port needs it.

    It is started from the thread `worker`, in the network namespace from which containers can be reached.
    """

    def __init__(self, paths: Paths, worker: NamespaceThread, group: anyio.abc.TaskGroup) -> None:
        self._path = paths.run / "ports.sock"
        self._keeper_lock = f"{paths.keeper_socket}.lock"
        self._worker = worker
        self._group = group
        self._lock = anyio.Lock()
        self._link: socket.socket | None = None
        self._answers: deque[anyio.Event] = deque()
        self._carried: dict[str, Carried] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    async def inherit(self) -> dict[str, socket.socket]:
        """Connect to the forwarder of an earlier engine, if there is one; return its sockets by key."""
        link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        found: dict[str, socket.socket] = {}
        link.settimeout(ANSWER_TIMEOUT_S)
        try:
            link.connect(str(self._path))
            link.send(json.dumps({"do": "list"}).encode())
            while True:
                data, descriptors, _flags, _ = socket.recv_fds(link, LONGEST_MESSAGE, 1)
                message = json.loads(data)
                if "end" in message:
                    break
                found[message["key"]] = socket.socket(fileno=descriptors[0])
        except (OSError, ValueError):
            link.close()
            for one in found.values():
                one.close()
            return {}
        self._use(link)
        return found

    async def carry(self, ports: Sequence[Carried]) -> None:
        """Forward `ports` to their targets. Connections that arrive before wait in the sockets' backlog.

        Raises InternalError if the forwarder can't be started.
        """
        if not ports:
            return
        self._carried |= {one.key: one for one in ports}
        async with self._lock:
            for _ in range(STARTS):
                if self._link is None:
                    try:
                        self._use(await self._worker.run(self._start))
                    except OSError as error:
                        raise InternalError(
                            f"the process that forwards ports can't be started: {error.strerror}",
                            f"check {sys.executable} and the directory of {self._path}",
                        ) from error
                    ports = list(self._carried.values())
                try:
                    for one in ports:
                        self._send(one)
                except OSError:
                    self._lose()
                    continue
                return

    async def drop(self, keys: Sequence[str]) -> None:
        """Stop forwarding ports; return once the forwarder has closed them."""
        if not keys:
            return
        for key in keys:
            self._carried.pop(key, None)
        async with self._lock:
            if self._link is None:
                return
            answered = anyio.Event()
            self._answers.append(answered)
            try:
                self._link.send(json.dumps({"do": "drop", "keys": list(keys)}).encode())
            except OSError:
                self._lose()
                return
            with anyio.move_on_after(ANSWER_TIMEOUT_S, shield=True):
                await answered.wait()

    def close(self) -> None:
        """Close the connection; the forwarder runs on."""
        self._is_closed = True
        self._lose()

    def _send(self, one: Carried) -> None:
        assert self._link is not None
        message = {"do": "carry", "key": one.key, "protocol": one.protocol, "target": list(one.target)}
        socket.send_fds(self._link, [json.dumps(message).encode()], [one.socket.fileno()])

    def _start(self) -> socket.socket:
        """Start a forwarder and return a connection to it."""
        self._path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as listener:
            listener.bind(str(self._path))
            self._path.chmod(0o600)
            listener.listen(8)
            link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
            link.settimeout(ANSWER_TIMEOUT_S)
            link.connect(str(self._path))
            main = Path(__file__).with_name("main.py")
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", main, str(listener.fileno()), self._keeper_lock],
                pass_fds=[listener.fileno()],
                env={},
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                cwd="/",
            )
        return link

    def _use(self, link: socket.socket) -> None:
        self._link = link
        self._group.start_soon(self._receive, link)

    def _lose(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)  # wakes `_receive`, which closes it
        while self._answers:
            self._answers.popleft().set()

    async def _receive(self, link: socket.socket) -> None:
        """Receive the forwarder's answers; start another one if it exits while there are ports to forward."""
        with link:
            while True:
                await anyio.wait_readable(link)
                try:
                    if not link.recv(LONGEST_MESSAGE):
                        break
                except OSError:
                    break
                if self._answers:
                    self._answers.popleft().set()
        if self._process is not None:  # reap it
            process, self._process = self._process, None
            pidfd = os.pidfd_open(process.pid)
            with os.fdopen(pidfd), anyio.move_on_after(ANSWER_TIMEOUT_S):
                await anyio.wait_readable(pidfd)
            process.poll()
        if self._link is link:
            self._lose()
            if self._carried and not self._is_closed:
                await self.carry(list(self._carried.values()))
