"""Reading containers' logs, and attaching to containers."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import anyio
import anyio.lowlevel

from runtime.container.logs.files import STDERR, STDIN, STDOUT, segment_starts
from runtime.container.logs.options import details, is_readable
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
    """Reads logs and attaches clients. All output is read from the log's files, so a slow client needs no memory."""

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
        """Yield the container's output in large pieces; with `follow` until it stops, or until `until_ns`.

        With `attached` a stopped container is followed from its next start on, and rotation of the log waits until this
        reader has read the segment to delete.
        """
        before_lines = _details(container) if with_details else b""
        selection = Selection(_wanted(stdout, stderr), since_ns, until_ns, tail, timestamps, before_lines)
        return self._read(container, selection, follow, attached)

    async def _read(
        self, container: Container, selection: Selection, follow: bool, attached: bool = False
    ) -> AsyncGenerator[LogFrame, None]:
        if not follow and not segment_starts(self._paths.container(container.id)):
            return
        # FileNotFoundError: the container may be removed at the same time
        with suppress(FileNotFoundError), self._reader(container, is_awaited=attached) as reader:
            part, end = LogSlice(reader, selection), reader.end
            for _ in part.find():
                await anyio.lowlevel.checkpoint()
            if attached:
                await self._until_runs(container)
            written, is_live = container.written, _is_live(container)
            while not part.is_over and (follow or reader.position < end):
                chunks = reader.chunks()
                for stream, data in part.frames(chunks):
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
        """Open the container's log, and register the reader with the writer."""
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
        """Attach to the container's streams, even before it is started."""
        streams = _wanted(stdout, stderr)
        self._table.emit(container, "attach")

        async def stdin_of() -> int | None:
            await self._until_started(container)  # clients attach, and may send input, before they start it
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
            stdin_lock=container.stdin_lock,
        )

    async def _until_started(self, container: Container) -> None:
        while container.state.status == CREATED and container in self._table and not container.state.error:
            await container.changed.wait()

    async def _until_runs(self, container: Container) -> None:
        """Return once the container is running, or has run since the call, or could not be started."""
        exits = container.exits
        while not _is_live(container) and container.exits == exits and container in self._table:
            await container.changed.wait()
            if container.state.error:
                return

    async def _close_stdin(self, container: Container) -> None:
        """Close the process's standard input if the container has StdinOnce."""
        await self._until_started(container)
        process = container.process
        if process is None or "stdin" not in process.fds or not container.config.get("StdinOnce"):
            return
        await self._keeper.close_stdin(container.id)

    async def _live(
        self, container: Container, streams: frozenset[int], from_beginning: bool
    ) -> AsyncGenerator[LogFrame, None]:
        """Yield the container's output from now on, until the present process, or the next one if none runs, exits."""
        with suppress(FileNotFoundError), self._reader(container, is_awaited=True) as reader:
            part = LogSlice(reader, Selection(streams))
            part.start_at(0 if from_beginning else reader.end)
            exits = container.exits
            while not container.is_running and container.log is None and container.exits == exits:
                was_started = container.state.finished_at > container.created
                if was_started or container.state.error or container not in self._table:
                    break
                await container.changed.wait()
            while True:
                written, is_live = container.written, _is_live(container)
                chunks = reader.chunks()
                for stream, data in part.frames(chunks):
                    yield LogFrame(stream, data)
                if chunks:
                    reader.position = chunks[-1].end
                    container.notify_read()
                elif not is_live:
                    return
                else:
                    await written.wait()


def _wanted(stdout: bool, stderr: bool) -> frozenset[int]:
    # what a terminal shows (kept as STDIN's) is standard output
    return frozenset(({STDIN, STDOUT} if stdout else set()) | ({STDERR} if stderr else set()))


def _is_live(container: Container) -> bool:
    """Whether there may be more output."""
    return container.log is not None or container.is_running


def _seconds_to(time_ns: int) -> float:
    return max(0.0, (time_ns - time.time_ns()) / 1e9) if time_ns else float("inf")


def _details(container: Container) -> bytes:
    return details(container.host.get("LogConfig"), container.labels, container.environment, container.log_fields)


def check_readable(container: Container) -> None:
    """Raise EngineError if the container has a log driver that keeps nothing to read."""
    if not is_readable(container.host.get("LogConfig")):
        raise EngineError("configured logging driver does not support reading", status=501)
