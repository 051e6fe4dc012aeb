"""What containers write: from their logs, or as it comes."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import anyio
import anyio.lowlevel

from runtime.container.logs.files import STDERR, STDIN, STDOUT, segment_starts
from runtime.container.logs.options import NONE, details
from runtime.container.logs.reader import LogReader
from runtime.container.logs.selection import LogSlice, Selection
from runtime.engine.containers.state import CREATED, Container
from runtime.engine.containers.table import ContainerTable
from runtime.engine.streams.attach import Attachment, LogFrame
from runtime.errors import EngineError
from runtime.keeper.client import KeeperClient
from runtime.paths import Paths
from runtime.streaming import pieces_of


class Streams:
    """Reads logs and holds attachments. Readers pull: what a slow one has not read yet waits in the log's files."""

    def __init__(self, paths: Paths, table: ContainerTable, keeper: KeeperClient) -> None:
        self._paths = paths
        self._table = table
        self._keeper = keeper

    def logs(
        self,
        container: Container,
        *,
        stdout: bool = True,
        stderr: bool = True,
        follow: bool = False,
        since_ns: int = 0,
        until_ns: int = 0,
        timestamps: bool = False,
        tail: int | None = None,
        with_details: bool = False,
        attached: bool = False,
    ) -> AsyncGenerator[LogFrame, None]:
        """Return the container's output in big pieces; with `follow` until the container stops, or `until_ns` comes.

        With `attached` a container that does not run is followed from its next start on, and none goes on without the
        reader having got what is dropped of its log.
        """
        before_lines = _details(container) if with_details else b""
        selection = Selection(_wanted(stdout, stderr), since_ns, until_ns, tail, timestamps, before_lines)
        return self._read(container, selection, follow, attached)

    async def _read(
        self, container: Container, selection: Selection, follow: bool, attached: bool = False
    ) -> AsyncGenerator[LogFrame, None]:
        if not follow and not segment_starts(self._paths.container(container.id)):
            return
        # it may be removed meanwhile
        with suppress(FileNotFoundError), self._reader(container, is_awaited=attached) as reader:
            passage, end = LogSlice(reader, selection), reader.end
            for _ in passage.find():
                await anyio.lowlevel.checkpoint()
            if attached:
                await self._until_runs(container)
            written, is_live = container.written, _is_live(container)
            while not passage.is_over and (follow or reader.position < end):
                chunks = reader.chunks()
                for stream, data in passage.frames(chunks):
                    yield LogFrame(stream, data)
                    await anyio.lowlevel.checkpoint()
                if chunks:
                    reader.position = chunks[-1].end
                    container.notify_read()
                elif not is_live or not follow:
                    return
                else:
                    with anyio.move_on_after(_seconds_to(selection.until_ns)) as scope:
                        await written.wait()
                    if scope.cancelled_caught:
                        return
                    written, is_live = container.written, _is_live(container)

    @contextmanager
    def _reader(self, container: Container, *, is_awaited: bool = False) -> Iterator[LogReader]:
        """Open the container's log for reading, as one for whom what it drops is held."""
        reader = LogReader(self._paths.container(container.id), is_awaited=is_awaited)
        container.readers.add(reader)
        try:
            yield reader
        finally:
            container.readers.discard(reader)
            reader.close()
            container.notify_read()

    def attach(
        self, container: Container, *, stdin: bool, stdout: bool, stderr: bool, stream: bool, logs: bool
    ) -> Attachment:
        """Hold the container's streams, also of one that is not started yet."""
        streams = _wanted(stdout, stderr)
        self._table.emit(container, "attach")

        async def stdin_of() -> int | None:
            await self._until_started(container)  # clients attach, and may write, before they start it
            process = container.process
            if process is None or not stdin:
                return None
            return process.fds.get("console", process.fds.get("stdin"))

        return Attachment(
            tty=container.tty,
            output=pieces_of(
                self._live(container, streams, logs) if stream else self._read(container, Selection(streams), False)
            ),
            stdin=stdin_of,
            close_stdin=partial(self._close_stdin, container),
            detached=partial(self._table.emit, container, "detach"),
            turn=container.stdin_lock,
        )

    async def _until_started(self, container: Container) -> None:
        while container.state.status == CREATED and container in self._table and not container.state.error:
            await container.changed.wait()

    async def _until_runs(self, container: Container) -> None:
        """Return once the container runs, or did after this was called, or can't."""
        exits = container.exits
        while not _is_live(container) and container.exits == exits and container in self._table:
            await container.changed.wait()
            if container.state.error:
                return

    async def _close_stdin(self, container: Container) -> None:
        """End the process's standard input, where the container was made to have it end with its first client."""
        await self._until_started(container)
        process = container.process
        if process is None or "stdin" not in process.fds or not container.config.get("StdinOnce"):
            return
        await self._keeper.close_stdin(container.id)

    async def _live(
        self, container: Container, streams: frozenset[int], from_beginning: bool
    ) -> AsyncGenerator[LogFrame, None]:
        """Yield what the container writes from now on, until the process that runs, or is started next, ends."""
        with suppress(FileNotFoundError), self._reader(container, is_awaited=True) as reader:
            passage = LogSlice(reader, Selection(streams))
            passage.start_at(0 if from_beginning else reader.end)
            exits = container.exits
            while not container.is_running and container.log is None and container.exits == exits:
                was_started = container.state.finished_at > container.created
                if was_started or container.state.error or container not in self._table:
                    break
                await container.changed.wait()
            while True:
                written, is_live = container.written, _is_live(container)
                chunks = reader.chunks()
                for stream, data in passage.frames(chunks):
                    yield LogFrame(stream, data)
                if chunks:
                    reader.position = chunks[-1].end
                    container.notify_read()
                elif not is_live:
                    return
                else:
                    await written.wait()


def _wanted(stdout: bool, stderr: bool) -> frozenset[int]:
    return frozenset({STDIN} | ({STDOUT} if stdout else set()) | ({STDERR} if stderr else set()))


def _is_live(container: Container) -> bool:
    """Whether more output can come."""
    return container.log is not None or container.is_running


def _seconds_to(time_ns: int) -> float:
    return max(0.0, (time_ns - time.time_ns()) / 1e9) if time_ns else float("inf")


def _details(container: Container) -> bytes:
    environment = dict(pair.split("=", 1) for pair in container.config.get("Env") or () if "=" in pair)
    fields = {
        "ID": container.id[:12],
        "FullID": container.id,
        "Name": container.name,
        "ImageName": container.image_name,
        "ImageFullID": container.image_id,
        "ImageID": container.image_id.removeprefix("sha256:")[:12],
    }
    return details(container.host.get("LogConfig"), container.labels, environment, fields)


def check_readable(container: Container) -> None:
    """Raise EngineError when the container's log is not kept (HostConfig.LogConfig)."""
    if (container.host.get("LogConfig") or {}).get("Type") == NONE:
        raise EngineError("configured logging driver does not support reading", status=501)
