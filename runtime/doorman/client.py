"""The engine's client of the doorman."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from runtime.errors import InternalError
from runtime.keeper import wire
from runtime.keeper.starting import ANSWER_S, end_silent, start_helper
from runtime.paths import Paths

logger = logging.getLogger(__name__)

CONNECT_ATTEMPTS, CONNECT_PAUSE_S = 50, 0.02
LAST_S = 5.0


class DoormanClient:
    """A connection to the doorman, made by `connect`. If it dies, another is started and gets all descriptors again.

    `listener` is the API's listening socket.
    """

    def __init__(
        self, paths: Paths, restart: Sequence[str], make_listener: Callable[[], tuple[socket.socket, str]]
    ) -> None:
        self._paths = paths
        self._restart = list(restart)
        self._make_listener = make_listener
        self._address = ""
        self._socket: socket.socket | None = None
        self._is_ready = False
        self.listener: socket.socket
        self.pid = 0

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        paths: Paths,
        restart: Sequence[str],
        make_listener: Callable[[], tuple[socket.socket, str]],
        inherited: socket.socket | None = None,
    ) -> AsyncIterator[DoormanClient]:
        """Connect to the doorman of `paths`; start one if none runs.

        `restart` is the engine's command line, empty if the service manager starts engines. `make_listener` creates the
        API's socket and returns it with its path, if the doorman has none. An `inherited` socket is used instead; it is
        watched by the service manager while no engine runs.
        """
        doorman = cls(paths, restart, make_listener)
        if inherited is not None:
            doorman.listener = inherited
        await doorman._open()
        try:
            yield doorman
        finally:
            if doorman._socket is not None:
                doorman._socket.close()

    async def _open(self) -> None:
        """Connect, say hello, and send or receive the listening socket."""
        for attempt in range(CONNECT_ATTEMPTS):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
            try:
                connection.connect(str(self._paths.doorman_socket))
            except OSError:
                connection.close()
                if attempt:
                    await anyio.sleep(CONNECT_PAUSE_S)  # a dying doorman holds its lock until the kernel has closed it
                await anyio.to_thread.run_sync(
                    start_helper, self._paths, Path(__file__).with_name("main.py"), self._paths.doorman_socket
                )
                continue
            connection.setblocking(False)
            self._socket = connection
            try:
                with anyio.fail_after(ANSWER_S):
                    answer, carried = await self._exchange(
                        {"do": "hello", "restart": self._restart, "environment": dict(os.environ)}
                    )
            except TimeoutError:
                end_silent(self._paths.doorman_socket)
                connection.close()
                continue
            except OSError:
                connection.close()
                continue
            self.pid = answer["pid"]
            if not hasattr(self, "listener"):
                if carried:
                    self.listener, self._address = socket.socket(fileno=carried.pop()), answer["address"]
                    self.listener.setblocking(False)
                else:
                    self.listener, self._address = self._make_listener()
                    await self._send({"do": "listener", "address": self._address}, [self.listener.fileno()])
            else:
                await self._send({"do": "listener", "address": self._address}, [self.listener.fileno()])
            for descriptor in carried:
                os.close(descriptor)
            return
        raise InternalError("no doorman could be started", f"see {self._paths.engine_log}")

    async def _send(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        while self._socket is not None:
            try:
                wire.send(self._socket, dict(message), descriptors)
                return
            except BlockingIOError:
                await anyio.wait_writable(self._socket)

    async def _exchange(self, message: Mapping[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """Send a request, and return the answer with its descriptors. Raises OSError if the doorman is gone.

        Must not be called while `keep` runs, which waits for the socket then.
        """
        await self._send({**message, "wants_answer": True})
        while self._socket is not None:
            await anyio.wait_readable(self._socket)
            try:
                answer, descriptors = wire.receive(self._socket)
            except BlockingIOError:
                continue
            if answer is not None:
                return answer, descriptors
            break
        raise ConnectionResetError("the doorman is gone")

    async def keep(self, held: Callable[[], Iterable[tuple[str, Mapping[str, int]]]]) -> None:
        """Restart the doorman whenever it dies, until cancelled.

        `held` returns what it must hold: keys, and descriptors by name.
        """
        while self._socket is not None:
            await anyio.wait_readable(self._socket)  # no answer is expected, so this is EOF
            logger.error("the doorman died: another is started")
            self._socket.close()
            await self._open()
            for key, descriptors in held():
                await self.put(key, descriptors)
            if self._is_ready:
                await self.ready()

    async def put(self, key: str, descriptors: Mapping[str, int]) -> None:
        """Store duplicates of `descriptors` under `key`."""
        names = list(descriptors)
        await self._send_request({"do": "put", "key": key, "names": names}, [descriptors[name] for name in names])

    async def drop(self, key: str) -> None:
        """Close what is stored under `key`."""
        await self._send_request({"do": "drop", "key": key})

    async def retain(self, keys: Iterable[str]) -> None:
        """Close what is stored under any other key than `keys`."""
        await self._send_request({"do": "retain", "keys": list(keys)})

    async def _send_request(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        with anyio.move_on_after(LAST_S):
            try:
                await self._send(message, descriptors)
            except OSError:
                return  # it died: `keep` sends everything to the next one

    async def get(self, key: str) -> dict[str, int]:
        """Return duplicates of the descriptors stored under `key`, by name; {} if there are none."""
        try:
            answer, descriptors = await self._exchange({"do": "get", "key": key})
        except OSError:
            return {}
        return dict(zip(answer["names"], descriptors, strict=True))

    async def ready(self) -> None:
        """Report that the engine accepts connections."""
        self._is_ready = True
        await self._send_request({"do": "ready"})

    async def bye(self, *, is_stopped: bool) -> None:
        """Announce that the engine exits; with `is_stopped` the doorman exits first."""
        with anyio.move_on_after(LAST_S):
            try:
                await self._exchange({"do": "bye", "is_stopped": is_stopped})
                if is_stopped and self._socket is not None:
                    await anyio.wait_readable(self._socket)
            except OSError:
                return
