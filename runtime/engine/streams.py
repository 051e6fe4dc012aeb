"""What containers write: from their logs, or as it comes."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from dataclasses import replace
from functools import partial

import anyio.lowlevel

from runtime.container.logs import STDERR, STDIN, STDOUT, LogReader, Selection, select
from runtime.engine.attachment import Attachment, LogFrame
from runtime.engine.state import CREATED, Container
from runtime.engine.table import ContainerTable
from runtime.errors import EngineError
from runtime.keeper.client import Keeper
from runtime.paths import Paths

UNREADABLE_DRIVERS = ("none",)


class Streams:
    """Reads logs and holds attachments. Readers pull: what a slow one has not read yet waits in the log's file."""

    def __init__(self, paths: Paths, table: ContainerTable, keeper: Keeper) -> None:
        self._paths = paths
        self._table = table
        self._keeper = keeper

    async def logs(
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
    ) -> AsyncGenerator[LogFrame, None]:
        """Yield the container's output in big pieces; with `follow` until the container stops."""
        selection = Selection(_wanted(stdout, stderr), since_ns, until_ns, tail, timestamps)
        async for frame in self._read(container, selection, follow):
            yield frame

    async def _read(self, container: Container, selection: Selection, follow: bool) -> AsyncGenerator[LogFrame, None]:
        directory = self._paths.container(container.id)
        if not (directory / "log.data").exists():
            return
        reader = LogReader(directory)
        try:
            written = container.written
            is_live = container.log is not None or container.is_running
            seen = 0
            while True:
                chunks = reader.chunks(seen)
                for stream, data in select(reader, chunks, selection):
                    yield LogFrame(stream, data)
                    await anyio.lowlevel.checkpoint()
                if chunks:
                    seen = chunks[-1].end
                selection = replace(selection, tail=None)
                if not follow or (not is_live and not chunks):
                    return
                if is_live:
                    await written.wait()
                written = container.written
                is_live = container.log is not None or container.is_running
        finally:
            reader.close()

    def attach(
        self, container: Container, *, stdin: bool, stdout: bool, stderr: bool, stream: bool, logs: bool
    ) -> Attachment:
        """Hold the container's streams, also of one that is not started yet."""
        streams = _wanted(stdout, stderr)
        self._table.tell(container, "attach")

        async def stdin_of() -> int | None:
            await self._until_started(container)  # clients attach, and may write, before they start it
            process = container.process
            if process is None or not stdin:
                return None
            return process.fds.get("console", process.fds.get("stdin"))

        return Attachment(
            tty=container.tty,
            frames=self._live(container, streams, logs) if stream else self._read(container, Selection(streams), False),
            stdin=stdin_of,
            close_stdin=partial(self._close_stdin, container),
            detached=partial(self._table.tell, container, "detach"),
        )

    async def _until_started(self, container: Container) -> None:
        while container.state.status == CREATED and container in self._table and not container.state.error:
            await container.changed.wait()

    async def _close_stdin(self, container: Container) -> None:
        """End the process's standard input, where the container was made to have it end with its first client."""
        await self._until_started(container)
        process = container.process
        if process is None or "stdin" not in process.fds or not container.config.get("StdinOnce"):
            return
        os.close(process.fds.pop("stdin"))  # type: ignore[attr-defined]
        await self._keeper.close_stdin(container.id)

    async def _live(
        self, container: Container, streams: frozenset[int], from_beginning: bool
    ) -> AsyncGenerator[LogFrame, None]:
        """Yield what the container writes from now on, until the process that runs, or is started next, ends."""
        reader = LogReader(self._paths.container(container.id))
        try:
            seen = 0 if from_beginning else os.fstat(reader.descriptor).st_size
            exits = container.exits
            while not container.is_running and container.log is None and container.exits == exits:
                was_started = container.state.finished_at > container.created
                if was_started or container.state.error or container not in self._table:
                    break
                await container.changed.wait()
            while True:
                written, is_live = container.written, container.log is not None or container.is_running
                chunks = reader.chunks(seen)
                for stream, data in select(reader, chunks, Selection(streams)):
                    yield LogFrame(stream, data)
                if chunks:
                    seen = chunks[-1].end
                elif not is_live:
                    return
                else:
                    await written.wait()
        finally:
            reader.close()


def _wanted(stdout: bool, stderr: bool) -> frozenset[int]:
    return frozenset({STDIN} | ({STDOUT} if stdout else set()) | ({STDERR} if stderr else set()))


def check_readable(container: Container) -> None:
    """Raise EngineError when the container's log is not kept (HostConfig.LogConfig)."""
    if (container.host.get("LogConfig") or {}).get("Type") in UNREADABLE_DRIVERS:
        raise EngineError("configured logging driver does not support reading", status=501)
