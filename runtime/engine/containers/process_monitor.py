"""What the engine does for a running container: its output goes to the log, its health and its memory are watched."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio

from runtime.container.health import HEALTHY, UNHEALTHY, Health, HealthCheck
from runtime.container.logs.files import CHUNK_BYTES, STDERR, STDIN, STDOUT
from runtime.container.logs.options import limits_of
from runtime.container.logs.writer import LogWriter
from runtime.engine.background import Background, log, log_errors
from runtime.engine.containers.memory_watch import MemoryWatch
from runtime.engine.containers.state import PAUSED, Container
from runtime.engine.containers.table import ContainerTable
from runtime.engine.times import rfc3339
from runtime.errors import KernelError
from runtime.keeper.handles import ProcessHandle
from runtime.paths import Paths

logger = logging.getLogger(__name__)

Probe = Callable[[Container, HealthCheck], Awaitable[tuple[int, str]]]
"""Runs a health check once; returns its exit code and output."""


IDLE_LOG_S = 5.0
"""How long a log that nothing is written to keeps its files open, at least; twice as long at most."""


class ProcessMonitor:
    """Attends running processes."""

    def __init__(
        self, paths: Paths, table: ContainerTable, background: Background, memory: MemoryWatch, probe: Probe
    ) -> None:
        self._paths = paths
        self._table = table
        self._background = background
        self._memory = memory
        self._probe = probe

    def begin(self, container: Container, process: ProcessHandle) -> None:
        """Take over a running process: its output, its health and its memory, until it ends."""
        container.process = process
        container.has_told_oom = False
        container.scope = anyio.CancelScope()
        container.drained = anyio.Event()
        self._background.start_soon(self._drain, container, process)
        check = HealthCheck.of(
            container.config.get("Healthcheck"), tuple(container.config.get("Shell") or ()) or ("/bin/sh", "-c")
        )
        if check is None:
            container.health = None
        else:
            container.health = Health(log=container.health.log if container.health else ())
        self._background.start_soon(self._watch, container, process, check, container.scope)

    def note_gap(self, container: Container) -> None:
        """Say in the container's log that some of its output may be missing; it is not being written to."""
        limits = limits_of(container.host.get("LogConfig"))
        writer = LogWriter(self._paths.container(container.id), limits, container.readers)
        try:
            writer.append(f"skiff: nobody read this output until {rfc3339(time.time_ns())}\n".encode(), STDERR)
        finally:
            writer.close()

    async def _watch(
        self, container: Container, process: ProcessHandle, check: HealthCheck | None, scope: anyio.CancelScope
    ) -> None:
        """Run all that watches the process until `scope` is cancelled, which `end` does.

        One task enters the scope and owns the others: a scope belongs to one task (anyio, CancelScope).
        """
        with scope:
            async with anyio.create_task_group() as group:
                if check is not None:
                    group.start_soon(log_errors, self._watch_health, container, check)
                if process.cgroup is not None:
                    group.start_soon(log_errors, self._memory.watch, container, process.cgroup)

    async def end(self, container: Container) -> None:
        """Let the output come to its end, as far as it does, and stop probing."""
        if container.scope is not None:
            container.scope.cancel()
        container.notify_read()  # its last words wait for nobody
        with anyio.move_on_after(5):  # a stray holder of the pipes, outside the container, is not waited for
            await container.drained.wait()
        if container.health is not None:  # Docker: whoever is not watched is not healthy
            container.health = replace(container.health, status=UNHEALTHY)

    # --- output

    async def close_idle_logs(self) -> None:
        """Close the files of logs that nothing is written to, again and again, until cancelled."""
        while True:
            await anyio.sleep(IDLE_LOG_S)
            for container in self._table:
                if container.log is not None:
                    container.log.close_if_idle()

    async def _drain(self, container: Container, process: ProcessHandle) -> None:
        """Move the process's output into the log until its pipes end."""
        limits = limits_of(container.host.get("LogConfig"))
        writer = LogWriter(self._paths.container(container.id), limits, container.readers, process.started_at_ns)
        container.log = writer
        try:
            async with anyio.create_task_group() as group:
                if "console" in process.fds:
                    group.start_soon(self._drain_console, container, writer, process.fds["console"])
                for name, stream in (("stdout", STDOUT), ("stderr", STDERR)):
                    if name in process.fds:
                        group.start_soon(self._drain_pipe, container, writer, process.fds[name], stream)
        finally:
            writer.close()
            container.log = None
            container.drained.set()
            container.notify_log()

    async def _drain_pipe(self, container: Container, writer: LogWriter, pipe: int, stream: int) -> None:
        os.set_blocking(pipe, False)
        is_losing = False
        while True:
            await anyio.wait_readable(pipe)
            await _until_read(container, writer)
            try:
                if writer.take(pipe, stream) == 0:
                    return
                is_losing = False
            except BlockingIOError:
                continue
            except (OSError, KernelError) as error:
                # the disk is full, most likely: the container is to go on, as with Docker without what it says now
                if not is_losing:
                    is_losing = True
                    _say_what_is_lost(container, error)
                if not _skip(pipe):
                    return
            container.notify_log()

    async def _drain_console(self, container: Container, writer: LogWriter, console: int) -> None:
        os.set_blocking(console, False)
        is_losing = False
        while True:
            await anyio.wait_readable(console)
            await _until_read(container, writer)
            try:
                data = os.read(console, CHUNK_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno == errno.EIO:  # tty: no process has the other end open any more
                    return
                raise
            if not data:
                return
            try:
                writer.append(data, STDIN)
                is_losing = False
            except OSError as error:
                if not is_losing:
                    is_losing = True
                    _say_what_is_lost(container, error)
            container.notify_log()

    # --- health

    async def _watch_health(self, container: Container, check: HealthCheck) -> None:
        """Run the health check for as long as the process runs.

        Before the first probe that counts there is one at once, so that who is ready is not waited for.
        """
        started = time.monotonic()
        assert container.health is not None
        due_s = container.health.pause_s(check, 0.0)
        early = await self._run_probe(container, replace(check, timeout_s=min(check.timeout_s, due_s)))
        self._take_health(container, container.health.after_early(early))
        if container.health.status == HEALTHY:
            due_s = time.monotonic() - started + check.interval_s
        while container.is_running and container.health is not None:
            await anyio.sleep(max(0.0, started + due_s - time.monotonic()))
            if container.state.status != PAUSED and container.is_running:
                age_s = time.monotonic() - started
                probe = await self._run_probe(container, check)
                self._take_health(container, container.health.after(check, probe, age_s))
            age_s = time.monotonic() - started
            due_s = age_s + container.health.pause_s(check, age_s)

    def _take_health(self, container: Container, health: Health) -> None:
        before, container.health = container.health, health
        if health is before:
            return
        container.notify()
        if before is None or health.status != before.status:
            self._table.emit(container, f"health_status: {health.status}")

    async def _run_probe(self, container: Container, check: HealthCheck) -> dict[str, Any]:
        started_ns = time.time_ns()
        try:
            exit_code, output = await self._probe(container, check)
        except Exception as error:  # noqa: BLE001 - a probe that can't be run is one that failed, not the last one
            log(error)
            exit_code, output = -1, str(error)
        return {
            "Start": rfc3339(started_ns),
            "End": rfc3339(time.time_ns()),
            "ExitCode": exit_code,
            "Output": output,
        }


async def _until_read(container: Container, writer: LogWriter) -> None:
    """Wait, while the log is full, until those who are attached have read what it drops next: they miss nothing."""
    while writer.is_full and container.scope is not None and not container.scope.cancel_called:
        if not any(reader.is_awaited and reader.position < writer.next_drop for reader in container.readers):
            return
        await container.read.wait()


def _skip(pipe: int) -> bool:
    """Throw away what the pipe holds; return whether more can come."""
    try:
        return bool(os.read(pipe, CHUNK_BYTES))
    except BlockingIOError:
        return True


def _say_what_is_lost(container: Container, error: Exception) -> None:
    logger.error("container %s: its output can't be kept: %s", container.id[:12], error)
