"""Exec instances: additional processes in running containers (Docker Engine API, "Exec")."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio

from runtime.bodies import ContainerConfig, ExecConfig, ExecStart
from runtime.container.health import HealthCheck, ProbeOutput
from runtime.container.spec import build_exec
from runtime.engine.background import Background
from runtime.engine.containers.failures import described
from runtime.engine.containers.making.checks import check_console_size
from runtime.engine.containers.making.roots import LiveRoot
from runtime.engine.containers.signals import resize_console
from runtime.engine.containers.state import PAUSED, Container
from runtime.engine.containers.table import ContainerTable
from runtime.engine.networks.networking import ContainerNetworks
from runtime.engine.streams.attach import Attachment, LogFrame
from runtime.engine.streams.exec_output import send_output
from runtime.engine.times import go_duration
from runtime.errors import BadRequestError, ConflictError, InternalError, NotFoundError, SkiffError
from runtime.exhausted import check_start
from runtime.keeper.client import KeeperClient
from runtime.keeper.handles import CANNOT_RUN, MISSING, LaunchError, ProcessExit, ProcessHandle
from runtime.streaming import Send

EXEC_FAILED = "OCI runtime exec failed: exec failed: unable to start container process: "
KILL_PATIENCE_S = 5.0
LINGER_S, KEPT_S = 1.0, 300.0
START_PATIENCE_S = 10.0


@dataclass
class Exec:
    """An exec instance; `exit_code` is None until its process has exited."""

    id: str
    container: Container
    body: ExecConfig
    is_probe: bool = False
    """Whether it is a health check's, which no client waits for."""
    process: ProcessHandle | None = None
    is_started: bool = False
    exit_code: int | None = None
    launched: anyio.Event = field(default_factory=anyio.Event)
    """Set when the process has been started or the start has failed."""
    ended: anyio.Event = field(default_factory=anyio.Event)
    drained: anyio.Event = field(default_factory=anyio.Event)
    """Set at the end of its output."""
    pid: int = 0

    @property
    def tty(self) -> bool:
        """Whether it has a terminal."""
        return bool(self.body.get("Tty"))


@dataclass(frozen=True, eq=False)
class Execs:
    """The exec instances of one engine. They end with their container, and do not survive an engine's restart."""

    keeper: KeeperClient
    table: ContainerTable
    networking: ContainerNetworks
    background: Background
    _execs: dict[str, Exec] = field(default_factory=dict, init=False)

    def find(self, id: str) -> Exec:
        """Return an exec. Raises NotFoundError."""
        found = self._execs.get(id)
        if found is None:
            raise NotFoundError(f"No such exec instance: {id}")
        return found

    async def create(self, name: str, body: ExecConfig) -> dict[str, str]:
        """Create an exec instance in the running container `name`.

        Raises ConflictError if it is not running, BadRequestError for an unknown user or group.
        """
        container = self.table.find(name)
        if not container.is_running:
            raise ConflictError(f"container {container.id} is not running")
        if container.state.status == PAUSED:
            raise ConflictError(f"Container {name} is paused, unpause the container before exec")
        await self._check_user(container, body.get("User") or "")
        check_console_size(body.get("ConsoleSize"))
        self._drop_stale()
        one = Exec(secrets.token_hex(32), container, body.copy())
        self._execs[one.id] = one
        container.exec_ids.append(one.id)
        self.table.emit(container, f"exec_create: {_shown(one)}", execID=one.id)
        return {"Id": one.id}

    async def _check_user(self, container: Container, user: str) -> None:
        """Raise BadRequestError when the container has no such user; numbers need no account."""
        if all(part.isdecimal() for part in user.split(":") if part):
            return
        with LiveRoot(container.id) as root, _as_bad_request():
            await self.keeper.task("user", root, user=user)

    def check(self, one: Exec) -> None:
        """Raise ConflictError when the exec's container is not there for it."""
        if not one.container.is_running:
            raise ConflictError(f"container {one.container.id} is not running")
        if one.container.state.status == PAUSED:
            raise ConflictError(f"Container {one.container.id} is paused, unpause the container before exec")

    def _drop_stale(self) -> None:
        """Drop instances that were never started in containers that have exited."""
        for one in list(self._execs.values()):
            if not one.is_started and not one.container.is_running:
                self._drop(one)

    def _drop(self, one: Exec) -> None:
        self._execs.pop(one.id, None)
        self._unlist(one)

    def _unlist(self, one: Exec) -> None:
        """Have the container no longer name what has ended; by its ID it can still be inspected."""
        if one.id in one.container.exec_ids:
            one.container.exec_ids.remove(one.id)

    async def start(self, id: str, body: ExecStart) -> Attachment | None:
        """Start it; returns its streams, or None when it is detached. Raises LaunchError, ConflictError."""
        one = self.find(id)
        self.check(one)
        if one.is_started:
            raise ConflictError(f"exec command {id} has already run")
        check_start()
        check_console_size(body.get("ConsoleSize"))
        one.is_started = True
        size = body.get("ConsoleSize") or one.body.get("ConsoleSize") or [0, 0]
        self.table.emit(one.container, f"exec_start: {_shown(one)}", execID=id)
        try:
            one.process = await self._run(one, size, bool(one.body.get("AttachStdin")) and not body.get("Detach"))
            one.pid = one.process.pid
        except SkiffError as error:
            one.exit_code = _failed_with(error)
            one.ended.set()
            self._unlist(one)
            self.background.start_soon(self._forget_later, one)
            raise
        finally:
            one.launched.set()
        if body.get("Detach"):
            self.background.start_soon(self._discard, one)
            return None
        return Attachment(
            tty=one.tty,
            output=partial(self._send_output, one),
            stdin=lambda: _stdin_of(one),
            close_stdin=lambda: self._close_stdin(one),
            detached=lambda: self.table.emit(one.container, "exec_detach", execID=one.id),
        )

    async def _run(self, one: Exec, size: Any, stdin: bool) -> ProcessHandle:
        config: ContainerConfig = {**one.container.config, "Env": self.networking.environment(one.container)}
        process, annotations, seccomp = build_exec(one.body, config, one.container.host, size)
        try:
            return await self.keeper.exec(one.id, one.container.id, process, annotations, seccomp, stdin=stdin)
        except LaunchError as error:
            raise described(error, EXEC_FAILED) from error

    async def _close_stdin(self, one: Exec) -> None:
        if one.process is not None and "stdin" in one.process.fds:
            await self.keeper.close_stdin(one.id)

    async def _discard(self, one: Exec) -> None:
        """Read and discard output, so that the process does not block on a full pipe."""
        assert one.process is not None
        await send_output(one.process, one.ended, _ignore)
        one.drained.set()

    async def _send_output(self, one: Exec, send: Send[LogFrame]) -> None:
        """Send the output; return when the process has exited and its exit code is known."""
        assert one.process is not None
        try:
            await send_output(one.process, one.ended, send)
            one.drained.set()
        finally:
            if not one.drained.is_set() and not one.is_probe:  # the client has disconnected
                self.background.start_soon(self._discard, one)

    async def exited(self, ended: ProcessExit) -> None:
        """Record the exit of an exec's process."""
        one = self._execs.get(ended.id)
        if one is not None:
            one.exit_code = ended.exit_code
            one.ended.set()
            self._unlist(one)
            self.table.emit(one.container, "exec_die", execID=one.id, exitCode=str(ended.exit_code))
            if not one.is_probe:
                self.background.start_soon(self._forget_later, one)
        await self.keeper.forget(ended.id)

    async def _forget_later(self, one: Exec) -> None:
        """Keep the exit code for clients that ask for it after the end of the streams, then drop the instance."""
        if one.process is not None:
            await one.drained.wait()
            await anyio.sleep(LINGER_S)  # clients that still send input need time to see the end
            one.process.close()
            one.process = None
        await anyio.sleep(KEPT_S)
        self._drop(one)

    def inspect(self, id: str) -> dict[str, Any]:
        """Return Docker's view of an exec."""
        one = self.find(id)
        return {
            "ID": one.id,
            "ContainerID": one.container.id,
            "Running": one.is_started and one.exit_code is None,
            "ExitCode": one.exit_code,
            "Pid": one.pid,
            "OpenStdin": bool(one.body.get("AttachStdin")),
            "OpenStdout": bool(one.body.get("AttachStdout")),
            "OpenStderr": bool(one.body.get("AttachStderr")),
            "CanRemove": False,
            "DetachKeys": one.body.get("DetachKeys") or "",
            "ProcessConfig": {
                "tty": one.tty,
                "entrypoint": (one.body.get("Cmd") or [""])[0],
                "arguments": (one.body.get("Cmd") or [])[1:],
                "privileged": bool(one.body.get("Privileged")),
                **({"user": one.body["User"]} if one.body.get("User") else {}),
            },
        }

    async def resize(self, id: str, height: int, width: int) -> None:
        """Set the size of the exec's terminal once it is started. Raises BadRequestError if it is not started in time."""
        one = self.find(id)
        if one.exit_code is None:
            with anyio.move_on_after(START_PATIENCE_S):
                await one.launched.wait()
        if one.pid == 0:
            raise BadRequestError("exec process is not started")
        if one.process is not None and "console" in one.process.fds and one.exit_code is None:
            resize_console(one.process.fds["console"], height, width)

    async def probe(self, container: Container, check: HealthCheck) -> tuple[int, str]:
        """Run a health probe; return (exit code, output); the exit code is -1 after a timeout or a failed start."""
        one = Exec(secrets.token_hex(32), container, {"Cmd": list(check.test)}, is_probe=True)
        self._execs[one.id] = one
        output = ProbeOutput()
        self.table.emit(container, f"exec_create: {_shown(one)}", execID=one.id)
        self.table.emit(container, f"exec_start: {_shown(one)}", execID=one.id)

        async def take(frame: LogFrame) -> None:
            output.take(frame.data)

        try:
            one.process = await self._run(one, [0, 0], False)
            with anyio.move_on_after(check.timeout_s) as scope:
                await self._send_output(one, take)
            if scope.cancelled_caught:
                with anyio.CancelScope(shield=True):
                    await self.keeper.signal(one.id, signal.SIGKILL)
                    with anyio.move_on_after(KILL_PATIENCE_S):  # a process that hangs in the kernel does not exit
                        await one.ended.wait()
                said = f": {output}" if str(output) else ""
                return -1, f"Health check exceeded timeout ({go_duration(check.timeout_s)}){said}"
            return one.exit_code or 0, str(output)
        except LaunchError as error:
            return -1, str(error)
        finally:
            if one.process is not None:
                one.process.close()
                one.process = None
            self._execs.pop(one.id, None)


def _shown(one: Exec) -> str:
    """Return the command as events have it: the program, a space, its arguments."""
    program, *arguments = one.body.get("Cmd") or [""]
    return f"{program} {' '.join(arguments)}"


@contextmanager
def _as_bad_request() -> Iterator[None]:
    """Have what the keeper finds wrong in the block be the request's fault."""
    try:
        yield
    except InternalError as error:
        raise BadRequestError(error.message.removeprefix("keeper: ")) from error


def _failed_with(error: SkiffError) -> int:
    """Return the exit code for an exec that could not be started."""
    return MISSING if isinstance(error, LaunchError) and error.exit_code == MISSING else CANNOT_RUN


async def _ignore(frame: LogFrame) -> None:
    return


async def _stdin_of(one: Exec) -> int | None:
    return one.process.fds.get("console", one.process.fds.get("stdin")) if one.process else None
