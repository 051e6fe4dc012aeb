"""Sends containers' output to where their log driver says: syslog, journald, Fluentd, GELF.

    container → pipe → log (container/logs) → LogShipper, a reader like others → socket

No container waits for a slow or absent receiver. What waits to be sent is the container's log, within its limits
(`cache-max-size`, `cache-max-file`): of what is rotated away unsent the amount is written to the engine's log. How far it
was sent is recorded next to the log, so that nothing is lost when the engine or the container starts again; a crash may
have the last lines sent twice.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from runtime.container.logs.messages import Encode, Line, LineSplitter, Subject, encoder
from runtime.container.logs.options import attributes, tag_of
from runtime.container.logs.reader import LogReader
from runtime.container.logs.remote import DATAGRAM, GELF, JOURNALD, SYSLOG, Destination, destination, is_remote
from runtime.engine.background import Background
from runtime.engine.containers.log_connections import ReceiverConnection, TlsError, connect
from runtime.engine.containers.state import Container
from runtime.errors import BadRequestError
from runtime.keeper.handles import CANNOT_RUN, MISSING, LaunchError
from runtime.paths import Paths

logger = logging.getLogger(__name__)

POSITION = "log.sent"
"""File next to a log with the offset up to which it was sent."""
SEND_S = 10.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
END_PATIENCE_S = 10.0
"""How long the output of a container that has exited is tried to be sent; it is again at the container's next start."""
FINISH_S = 2.0
"""How long the removal of a container waits for that, whose HostConfig has AutoRemove."""
INITIALIZE = "failed to create task for container: failed to initialize logging driver: "


@dataclass
class Shipment:
    """What sends one container's output: where to, and how lines become messages."""

    destination: Destination
    encode: Encode
    connection: ReceiverConnection | None = None

    def close(self) -> None:
        """Close the connection."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class LogShipper:
    """Sends the output of containers whose log driver asks for it."""

    def __init__(self, paths: Paths, background: Background) -> None:
        self._paths = paths
        self._background = background
        self._last: dict[str, anyio.Event] = {}
        """By container: set once what its last process wrote was sent, or given up."""

    def shipment(self, container: Container) -> Shipment | None:
        """Return what sends the container's output, None where it stays here. Raises BadRequestError on a bad tag."""
        config = container.host.get("LogConfig") or {}
        if not is_remote(config):
            return None
        options = dict(config.get("Config") or {})
        own = {name: value for name, value in options.items() if not name.startswith(("cache-", "mode", "max-buffer"))}
        command = [*(container.config.get("Entrypoint") or ()), *(container.config.get("Cmd") or ())]
        subject = Subject(
            container.id,
            container.name,
            container.image_id,
            container.image_name,
            " ".join(command),
            container.created,
            tag_of(options, container.log_fields),
            socket.gethostname(),
            attributes(options, container.labels, container.environment),
        )
        target = destination(config["Type"], own)
        return Shipment(target, encoder(target, subject))

    async def open(self, container: Container) -> Shipment | None:
        """Return what sends the container's output, connected. Raises LaunchError if nobody listens there."""
        try:
            shipment = self.shipment(container)
            if shipment is not None and not shipment.destination.is_async:
                shipment.connection = await connect(shipment.destination)
        except BadRequestError as error:
            raise LaunchError(INITIALIZE + error.message, 128, error.hint) from error
        except OSError as error:
            message = _unreachable(shipment.destination, error) if shipment is not None else str(error)
            code = MISSING if "no such file" in message else CANNOT_RUN if "permission denied" in message else 128
            raise LaunchError(INITIALIZE + message, code, "start what listens there, or correct its address") from error
        return shipment

    def begin(self, container: Container, shipment: Shipment | None) -> None:
        """Send what the container writes until it exits; without `shipment` its LogConfig decides where to."""
        try:
            shipment = shipment or self.shipment(container)
        except BadRequestError as error:
            logger.error("container %s: its output can't be sent: %s", container.id[:12], error)
            return
        if shipment is not None:
            before, self._last[container.id] = self._last.get(container.id), anyio.Event()
            self._background.start_soon(self._run, container, shipment, before, self._last[container.id])

    async def finish(self, container: Container) -> None:
        """Wait, for a short time, until the output of a container that has exited was sent."""
        if (ended := self._last.get(container.id)) is not None:
            with anyio.move_on_after(FINISH_S):
                await ended.wait()

    async def _run(
        self, container: Container, shipment: Shipment, before: anyio.Event | None, ended: anyio.Event
    ) -> None:
        try:
            if before is not None:
                await before.wait()
            await self._ship(container, shipment)
        finally:
            shipment.close()
            ended.set()
            if self._last.get(container.id) is ended:
                del self._last[container.id]

    async def _ship(self, container: Container, shipment: Shipment) -> None:
        """Send what is in the log from where the last shipment ended on, until the output of this process ends."""
        directory, drained = self._paths.container(container.id), container.drained
        splitter = LineSplitter()
        try:
            reader = LogReader(directory, most_held=0)
            container.readers.add(reader)
            try:
                expected = reader.position = max(_sent(directory), reader.first)
                while True:
                    written, is_live = container.written, not drained.is_set()
                    chunks = reader.chunks()
                    if not chunks and not is_live:
                        break
                    if not chunks:
                        await written.wait()
                        continue
                    if chunks[0].start > expected:
                        _report_lost(container, chunks[0].start - expected)
                    lines: list[Line] = []
                    for chunk in chunks:
                        lines += splitter.feed(chunk.time_ns, chunk.stream, reader.read(chunk.start, chunk.end))
                    expected = reader.position = chunks[-1].end
                    if not await self._deliver(container, shipment, lines, drained):
                        return
                    if splitter.is_empty:
                        _note_sent(directory, expected)
                if await self._deliver(container, shipment, list(splitter.end()), drained):
                    _note_sent(directory, expected)
            finally:
                container.readers.discard(reader)
                reader.close()
        except FileNotFoundError:  # the container was removed
            return

    async def _deliver(
        self, container: Container, shipment: Shipment, lines: Sequence[Line], drained: anyio.Event
    ) -> bool:
        """Send lines, as often as it takes; return False if nobody took them for some time after the end of the output."""
        messages = [message for line in lines for message in shipment.encode(line)]
        pause_s, is_failing = FIRST_PAUSE_S, False
        deadline_s = float("inf")
        while messages:
            try:
                if shipment.connection is None:
                    shipment.connection = await connect(shipment.destination)
                with anyio.fail_after(SEND_S):
                    await shipment.connection.send(messages)
                return True
            except (OSError, TimeoutError, BadRequestError) as error:
                shipment.close()
                if not is_failing:
                    reason = _unreachable(shipment.destination, error)
                    logger.warning("container %s: its output can't be sent now: %s", container.id[:12], reason)
                is_failing = True
            if drained.is_set():
                deadline_s = min(deadline_s, anyio.current_time() + END_PATIENCE_S)
                if anyio.current_time() >= deadline_s:
                    return False
                await anyio.sleep(pause_s)
            else:
                with anyio.move_on_after(pause_s):
                    await drained.wait()
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return True


def _report_lost(container: Container, count: int) -> None:
    logger.warning(
        "container %s: %d bytes of its output were rotated away before they were sent", container.id[:12], count
    )


def _sent(directory: Path) -> int:
    try:
        return int((directory / POSITION).read_text())
    except (OSError, ValueError):
        return 0


def _note_sent(directory: Path, offset: int) -> None:
    (directory / POSITION).write_text(str(offset))


def _unreachable(target: Destination, error: Exception) -> str:
    """Return what Docker says of a destination that can't be reached."""
    if target.driver == JOURNALD:
        return "journald is not enabled on this host"
    if target.driver == SYSLOG and not target.kind:
        return "Unix syslog delivery error"
    if isinstance(error, TlsError | BadRequestError):
        return error.message
    number = error.errno if isinstance(error, OSError) else None
    reason = os.strerror(number).lower() if number and number > 0 else "i/o timeout" if not str(error) else str(error)
    network = "unix" if target.paths else "udp" if target.kind == DATAGRAM else "tcp"
    where = target.paths[0] if target.paths else f"{target.host}:{target.port}"
    dialed = f"dial {network} {where}: connect: {reason}"
    return f"gelf: cannot connect to GELF endpoint: {where} {dialed}" if target.driver == GELF else dialed
