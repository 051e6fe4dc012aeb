"""Tasks for a running container: copying its output to the log, health checks, watching for OOM kills."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import anyio

from runtime.container.health import HEALTHY, Health, HealthCheck
from runtime.container.logs.files import CHUNK_BYTES, STDERR, STDIN, STDOUT
from runtime.container.logs.options import limits_of
from runtime.container.logs.writer import LogWriter
from runtime.container.output import read_output
from runtime.engine.background import Background, log, log_errors
from runtime.engine.containers.log_shipping import LogShipper, Shipment
from runtime.engine.containers.memory_watch import MemoryWatch
from runtime.engine.containers.state import PAUSED, Container
from runtime.engine.containers.table import ContainerTable
from runtime.engine.times import rfc3339
from runtime.errors import KernelError
from runtime.keeper.handles import ProcessHandle
from runtime.paths import Paths

logger = logging.getLogger(__name__)

Probe = Callable[[Container, HealthCheck], Awaitable[tuple[int, str]]]
"""Runs a health check once; returns (exit code, output)."""


IDLE_LOG_S = 5.0
"""A log that is not written to for this time, at most twice this time, closes its files."""


class ProcessMonitor:
    """Starts and stops the tasks of running containers."""

    def __init__(
        self, paths: Paths, table: ContainerTable, background: Background, memory: MemoryWatch, probe: Probe
    ) -> None:
        self.shipper = LogShipper(paths, background)
        self._paths = paths
        self._table = table
        self._background = background
        self._memory = memory
        self._probe = probe

    def begin(self, container: Container, process: ProcessHandle, shipment: Shipment | None = None) -> None:
        """Start the tasks for a running process; `shipment` sends its output where its log driver says."""
        container.process = process
        container.has_reported_oom = False
        container.process_scope = anyio.CancelScope()
        container.drained = anyio.Event()
        self._background.start_soon(self._drain, container, process)
        self.shipper.begin(container, shipment)
        check = HealthCheck.of(
            container.config.get("Healthcheck"), tuple(container.config.get("Shell") or ()) or ("/bin/sh", "-c")
        )
        if check is None:
            container.health = None
        else:
            container.health = Health(log=container.health.log if container.health else ())
        self._background.start_soon(self._watch, container, process, check, container.process_scope)

    def note_gap(self, container: Container) -> None:
        """Write a line to the container's log that output may be missing. Called before `begin`."""
        limits = limits_of(container.host.get("LogConfig"))
        writer = LogWriter(self._paths.container(container.id), limits, container.readers)
        try:
            writer.append(f"skiff: some output before {rfc3339(time.time_ns())} may be missing\n".encode(), STDERR)
        finally:
            writer.close()

    async def _watch(
        self, container: Container, process: ProcessHandle, check: HealthCheck | None, scope: anyio.CancelScope
    ) -> None:
        """Run the health check and the memory watch until `end` cancels `scope`.

        One task enters the scope and starts the others: a scope belongs to one task (anyio, CancelScope).
        """
        with scope:
            async with anyio.create_task_group() as group:
                if check is not None:
                    group.start_soon(log_errors, self._watch_health, container, check)
                if process.cgroup is not None:
                    group.start_soon(log_errors, self._memory.watch, container, process.cgroup)

    async def end(self, container: Container) -> None:
        """Stop probing, and wait until all output is in the log."""
        if container.process_scope is not None:
            container.process_scope.cancel()
        container.notify_read()  # the rest of the output is not held back for slow clients
        with anyio.move_on_after(5):  # a process outside the container may hold the pipes open
            await container.drained.wait()

    # --- output

    async def close_idle_logs(self) -> None:
        """Close the files of idle logs every few seconds, until cancelled."""
        while True:
            await anyio.sleep(IDLE_LOG_S)
            for container in self._table:
                if container.log is not None:
                    container.log.close_if_idle()

    async def _drain(self, container: Container, process: ProcessHandle) -> None:
        """Move the process's output into the log until EOF on all of its pipes."""
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
            await _wait_for_readers(container, writer)
            try:
                if writer.take(pipe, stream) == 0:
                    return
                is_losing = False
            except BlockingIOError:
                continue
            except (OSError, KernelError) as error:
                # most likely the disk is full: only attached clients get the output, instead of blocking the container
                if not is_losing:
                    is_losing = True
                    _log_lost_output(container, error)
                if not _pass_on(writer, pipe, stream):
                    return
                container.notify_log()
                await _wait_for_all_readers(container, writer)
            container.notify_log()

    async def _drain_console(self, container: Container, writer: LogWriter, console: int) -> None:
        os.set_blocking(console, False)
        is_losing = False
        while True:
            await anyio.wait_readable(console)
            await _wait_for_readers(container, writer)
            try:
                data = read_output(console, CHUNK_BYTES)
            except BlockingIOError:
                continue
            if not data:
                return
            try:
                writer.append(data, STDIN)
                is_losing = False
            except OSError as error:
                if not is_losing:
                    is_losing = True
                    _log_lost_output(container, error)
                container.notify_log()
                await _wait_for_all_readers(container, writer)
            container.notify_log()

    # --- health

    async def _watch_health(self, container: Container, check: HealthCheck) -> None:
        """Run the health check until the container exits.

        Docker's first probe is after an interval. An additional one right at the start lets dependants of a container
        that is ready start sooner; its failure does not count.
        """
        started = time.monotonic()
        assert container.health is not None
        due_s = container.health.pause_s(check, 0.0)
        early = await self._run_probe(container, replace(check, timeout_s=min(check.timeout_s, due_s)))
        self._update_health(container, container.health.after_early(early))
        if container.health.status == HEALTHY:
            due_s = time.monotonic() - started + check.interval_s
        while container.is_running and container.health is not None:
            await anyio.sleep(max(0.0, started + due_s - time.monotonic()))
            if container.state.status != PAUSED and container.is_running:
                age_s = time.monotonic() - started
                probe = await self._run_probe(container, check)
                self._update_health(container, container.health.after(check, probe, age_s))
            age_s = time.monotonic() - started
            due_s = age_s + container.health.pause_s(check, age_s)

    def _update_health(self, container: Container, health: Health) -> None:
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
        except Exception as error:  # noqa: BLE001 - a probe that can't be run counts as a failed one
            log(error)
            exit_code, output = -1, str(error)
        return {
            "Start": rfc3339(started_ns),
            "End": rfc3339(time.time_ns()),
            "ExitCode": exit_code,
            "Output": output,
        }


async def _wait_for_readers(container: Container, writer: LogWriter) -> None:
    """While the log is full, wait until attached clients have read the segment that the next rotation deletes."""
    while writer.is_full and container.process_scope is not None and not container.process_scope.cancel_called:
        if not any(reader.is_awaited and reader.position < writer.next_drop for reader in container.readers):
            return
        await container.read.wait()


async def _wait_for_all_readers(container: Container, writer: LogWriter) -> None:
    """Wait until attached clients have read the output that is held in memory for them, to keep that small."""
    while container.process_scope is not None and not container.process_scope.cancel_called:
        if not any(reader.is_awaited and reader.position < writer.end for reader in container.readers):
            return
        await container.read.wait()


def _pass_on(writer: LogWriter, pipe: int, stream: int) -> bool:
    """Give data in the pipe to attached clients without keeping it; return False at EOF."""
    try:
        data = os.read(pipe, CHUNK_BYTES)
        with suppress(OSError):
            writer.pass_on(data, stream)
    except BlockingIOError:
        return True
    return bool(data)


def _log_lost_output(container: Container, error: Exception) -> None:
    logger.error("container %s: its output can't be written to its log: %s", container.id[:12], error)
