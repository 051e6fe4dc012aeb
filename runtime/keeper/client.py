"""The engine's client of the keeper: starts containers and execs, sends signals, receives exits (see WIRE.md)."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from runtime.errors import InternalError
from runtime.exhausted import exhausted
from runtime.keeper import wire
from runtime.keeper.handles import CANNOT_RUN, LaunchError, ProcessExit, ProcessHandle, Vault, exit_of, handle_of
from runtime.keeper.records import Record, kill_execs
from runtime.keeper.starting import ANSWER_S, end_silent, start_helper
from runtime.linux import seccomp as seccomp_filters
from runtime.oci.cgroup import Cgroups
from runtime.paths import Paths

if TYPE_CHECKING:
    from runtime.oci.types import OciProcess, OciResources, OciSeccomp, OciSpec

UNKNOWN_EXIT = 255
LAUNCH_S = 30.0
CONNECT_ATTEMPTS, CONNECT_PAUSE_S = 100, 0.02
GREETINGS = 10
REAPED_S = 1.0
"""How long `recover` waits for init (or the subreaper) to reap a process that ended while no keeper ran."""
RECORD = "process.json"
"""The file in a container's bundle that identifies its process (`keeper.records`)."""


class KeeperClient:
    """A connection to the keeper, made by `connect`. Requests of concurrent tasks may be in flight together."""

    def __init__(
        self,
        paths: Paths,
        restart: Sequence[str],
        on_lost: Callable[[Sequence[str]], None] | None,
        prefork_template: Mapping[str, Any],
        vault: Vault | None,
    ) -> None:
        self._on_lost = on_lost
        self._vault = vault
        self._prefork_template = dict(prefork_template)
        self._held: dict[str, ProcessHandle] = {}
        self._ready = anyio.Event()
        self._ready.set()
        self._paths = paths
        self._restart = list(restart)
        self._socket: socket.socket | None = None
        self._number = 0
        self._waiting: dict[int, tuple[anyio.Event, list[Any]]] = {}
        self._full = anyio.Lock()
        """Held by the task that waits for the socket to be writable: anyio raises BusyResourceError for a second one."""
        self._exits_in: MemoryObjectSendStream[ProcessExit]
        self.exits: MemoryObjectReceiveStream[ProcessExit]
        self._exits_in, self.exits = anyio.create_memory_object_stream[ProcessExit](float("inf"))
        self.pid = 0
        self.is_closing = False

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        paths: Paths,
        *,
        restart: Sequence[str],
        on_lost: Callable[[Sequence[str]], None] | None = None,
        prefork_template: Mapping[str, Any] | None = None,
        vault: Vault | None = None,
    ) -> AsyncIterator[KeeperClient]:
        """Connect to the keeper of `paths`; start one if none runs.

        `restart` is the command line by which the keeper restarts this engine; empty if it must not. When the keeper
        dies, another is started and receives duplicates of all descriptors; then `on_lost` is called with the IDs of
        the live processes, which have another parent now. `prefork_template` describes the containers for which
        the keeper may fork children in advance (`runtime.container.prefork_template`). `vault` holds further duplicates
        of the descriptors, for `recover` after engine and keeper have both died.
        """
        keeper = cls(paths, restart, on_lost, prefork_template or {}, vault)
        await keeper._open()
        async with anyio.create_task_group() as group:
            group.start_soon(keeper._receive, group)
            try:
                await keeper._greet()
                yield keeper
            finally:
                keeper.is_closing = True
                group.cancel_scope.cancel()
                keeper._close()
                for held in keeper._held.values():
                    held.close()

    async def _open(self) -> None:
        for attempt in range(CONNECT_ATTEMPTS):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wire.PACKET_BYTES)
            try:
                connection.connect(str(self._paths.keeper_socket))
            except OSError:
                connection.close()
                if attempt:
                    # a dying keeper holds its lock until the kernel has closed its files; the next one needs the lock
                    await anyio.sleep(CONNECT_PAUSE_S)
                await anyio.to_thread.run_sync(start_keeper, self._paths)
                continue
            connection.setblocking(False)
            self._socket = connection
            return
        raise InternalError("no keeper could be started", f"see {self._paths.engine_log}")

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        for event, _ in self._waiting.values():
            event.set()
        self._waiting.clear()

    async def _greet(self) -> None:
        """Say hello; replace a keeper that does not answer."""
        for attempt in range(GREETINGS):
            try:
                with anyio.fail_after(ANSWER_S):
                    await self._hello()
                return
            except TimeoutError:
                self._ready = anyio.Event()
                end_silent(self._paths.keeper_socket)
                await self._ready.wait()  # `_receive` sees the killed keeper's end, and connects to a new one
                return
            except InternalError:
                # a child that a killed keeper had just forked keeps the listening socket open for a moment
                if attempt == GREETINGS - 1:
                    raise
                await anyio.sleep(CONNECT_PAUSE_S)

    async def _hello(self) -> None:
        answer, _ = await self._ask(
            "hello",
            restart=self._restart,
            environment=dict(os.environ),
            cgroup=f"/skiff-{self._paths.engine_id}",
            prefork_template=self._prefork_template,
        )
        self.pid = answer["pid"]

    async def _recover(self) -> None:
        """Hand all processes to a new keeper. Other requests wait (`_ready`) until that is done."""
        try:
            await self._hello()
            for process in list(self._held.values()):
                await self.adopt(process)
        except InternalError:
            # this keeper died too; `_receive` starts the next recovery when it sees the end of the connection
            return
        self._ready.set()
        if self._on_lost is not None:
            self._on_lost([process.id for process in self._held.values() if process.exit is None])

    def _hold(self, process: ProcessHandle) -> ProcessHandle:
        """Keep a share of the process's descriptors, for a later keeper; return `process`."""
        before = self._held.get(process.id)
        self._held[process.id] = process.share()
        if before is not None:
            before.close()
        return process

    async def _receive(self, group: anyio.abc.TaskGroup) -> None:
        while self._socket is not None:
            await anyio.wait_readable(self._socket)
            if self._socket is None:
                return
            try:
                message, descriptors = wire.receive(self._socket)
            except BlockingIOError:
                continue
            except OSError:
                message, descriptors = None, []
            if message is None:
                self._close()
                if self.is_closing:
                    return
                if self._ready.is_set():  # otherwise tasks wait for the present event: this recovery will set it
                    self._ready = anyio.Event()
                await self._open()
                if self.is_closing:
                    self._close()
                    return
                group.start_soon(self._recover)
                continue
            if "replaced" in message:  # another engine has said hello: do not reconnect, or the two replace each other
                self.is_closing = True
                self._close()
                return
            if "exited" in message:
                ended = exit_of(message["exited"], message)
                if ended.id in self._held:
                    self._held[ended.id] = replace(self._held[ended.id], exit=ended)
                self._exits_in.send_nowait(ended)
            else:
                waiting = self._waiting.pop(message["re"], None)
                if waiting is None:  # the task that sent the request was cancelled
                    for descriptor in descriptors:
                        os.close(descriptor)
                else:
                    waiting[1].extend((message, descriptors))
                    waiting[0].set()

    async def _ask(self, do: str, descriptors: Sequence[int] = (), **message: Any) -> tuple[dict[str, Any], list[int]]:
        if do not in ("hello", "adopt"):
            await self._ready.wait()
        if self._socket is None:
            raise InternalError("the keeper is gone", "restart the engine: `skiff engine stop`")
        self._number += 1
        number = self._number
        event = anyio.Event()
        answer: list[Any] = []
        self._waiting[number] = (event, answer)
        while True:
            try:
                wire.send(self._socket, {"do": do, "re": number, **message}, descriptors)
                break
            except BlockingIOError:
                async with self._full:
                    if self._socket is None:
                        break  # the connection was lost: `_close` has set `event`, and there is no answer
                    await anyio.wait_writable(self._socket)
            except OSError as error:
                self._waiting.pop(number, None)
                if error.errno == errno.EMSGSIZE:
                    raise LaunchError("argument list too long", CANNOT_RUN) from error
                raise InternalError("the keeper exited during a request", "try again") from error
        # shielded: an answer may carry descriptors, which somebody must own
        with anyio.CancelScope(shield=not self.is_closing and do != "hello"):
            await event.wait()
        if not answer:
            raise InternalError("the keeper exited during a request", "try again")
        result, received = answer
        if "error" in result:
            if "exit_code" in result:
                raise LaunchError(result["error"], result["exit_code"], result.get("hint"))
            raise exhausted(result.get("errno")) or InternalError(f"keeper: {result['error']}")
        return result, received

    async def launch(
        self, id: str, bundle: Path, spec: OciSpec, *, stdin: bool, timeout_s: float = LAUNCH_S
    ) -> ProcessHandle:
        """Run the OCI document `spec` as container `id`; return once its process has called execve(2).

        Raises LaunchError if it fails or takes longer than `timeout_s`.
        """
        (bundle / "rootfs").mkdir(parents=True, exist_ok=True)
        settings = {**spec["linux"], "seccomp": _compiled(spec["linux"].get("seccomp"))}
        document = os.memfd_create(f"spec-{id[:12]}", os.MFD_CLOEXEC)
        try:
            os.write(document, wire.pack({**spec, "linux": settings}))
            answer, fds = await self._ask(
                "launch",
                [document],
                id=id,
                bundle=str(bundle),
                stdin=stdin,
                terminal=bool(spec["process"].get("terminal")),
                namespaces=settings["namespaces"],
                cgroup=settings["cgroupsPath"],
                resources=settings.get("resources") or {},
                timeout_s=timeout_s,
            )
        finally:
            os.close(document)
        process = self._hold(handle_of(answer, fds))
        record = Record.of(process.pid, process.cgroup, process.started_at_ns, process.fds)
        if record is not None:
            record.write(bundle / RECORD)
        await self._store(process)
        return process

    async def _store(self, process: ProcessHandle) -> None:
        """Put duplicates of the descriptors of a container's init (not of an exec) into the vault."""
        if self._vault is not None and process.id == process.container:
            await self._vault.put(process.id, {"pidfd": process.pidfd, **process.fds})

    def held_containers(self) -> list[tuple[str, Mapping[str, int]]]:
        """Return what the vault should hold: for each container its ID, and descriptors by name."""
        return [
            (process.id, {"pidfd": process.pidfd, **process.fds})
            for process in self._held.values()
            if process.id == process.container
        ]

    async def exec(
        self,
        id: str,
        container: str,
        process: OciProcess,
        annotations: Mapping[str, str],
        seccomp: OciSeccomp | None,
        *,
        stdin: bool,
        timeout_s: float = LAUNCH_S,
    ) -> ProcessHandle:
        """Run another OCI `process` inside the running `container`. Raises LaunchError as `launch` does."""
        answer, fds = await self._ask(
            "exec",
            id=id,
            container=container,
            process=dict(process),
            annotations=dict(annotations),
            seccomp=_compiled(seccomp),
            stdin=stdin,
            timeout_s=timeout_s,
        )
        return self._hold(handle_of(answer, fds))

    async def task(self, name: str, rootfs: Mapping[str, Any], fds: Sequence[int] = (), **arguments: Any) -> Any:
        """Run the function `name` of `runtime.oci.tasks` inside a container's root, and return its result."""
        answer, _ = await self._ask("task", fds, name=name, rootfs=dict(rootfs), arguments=arguments)
        return answer["result"]

    async def signal(self, id: str, signum: int) -> None:
        """Send `signum` to process `id`; do nothing if it has exited."""
        await self._ask("signal", id=id, signum=int(signum))

    async def freeze(self, id: str, frozen: bool) -> None:
        """Freeze or thaw the cgroup of container `id`."""
        await self._ask("freeze", id=id, frozen=frozen)

    async def stats(self, id: str) -> dict[str, Any]:
        """Return the counters of container `id`'s cgroup (`oci.cgroup_usage.measure`)."""
        return (await self._ask("stats", id=id))[0]

    async def update(self, id: str, resources: OciResources) -> None:
        """Change the limits of container `id` (OCI document, `linux.resources`)."""
        await self._ask("update", id=id, resources=dict(resources))

    async def ids(self) -> Sequence[str]:
        """Return the IDs of all processes that the keeper manages, running and exited."""
        ids: list[str] = []
        has_more = True
        while has_more:
            answer, _ = await self._ask("list", after=ids[-1] if ids else "")
            ids += answer["ids"]
            has_more = answer["has_more"]
        return ids

    async def list(self) -> list[ProcessHandle]:
        """Return all processes that the keeper manages, running and exited, each with duplicates of its descriptors."""
        ids = await self.ids()
        found = [self._hold(handle_of(*(await self._ask("get", id=id)))) for id in ids]
        for process in found:
            await self._store(process)
        return found

    async def recover(self, bundles: Mapping[str, Path]) -> dict[str, ProcessHandle]:
        """Hand the containers that outlived both engine and keeper to the present keeper, and return them.

        `bundles` maps container IDs to bundle directories. Descriptors come from the vault. Without them, the process
        is found by its record, and its pipes are opened through /proc/<pid>/fd; output between the two may be lost
        (`may_miss_output`). A process that has exited is returned with its exit.
        """
        cgroups = Cgroups()
        found = {}
        for id, bundle in bundles.items():
            record = Record.read(bundle / RECORD)
            if record is None:
                continue
            pids = cgroups.processes(record.cgroup) if record.cgroup else []
            fds = await self._vault.get(id) if self._vault is not None else {}
            has_gap = not fds
            pidfd = fds.pop("pidfd", None) if fds else record.open_process()
            if pidfd is None:
                continue
            kill_execs(pids, record.pid)
            if has_gap:
                fds = record.open_pipes(pids)
            process = ProcessHandle(
                id, id, record.pid, pidfd, fds, record.cgroup, record.started_at_ns, None, may_miss_output=has_gap
            )
            await self.adopt(process)
            await self._store(self._hold(process))
            found[id] = process
        deadline_s = anyio.current_time() + REAPED_S
        return {id: replace(process, exit=await self._exit_of(process, deadline_s)) for id, process in found.items()}

    async def _exit_of(self, process: ProcessHandle, deadline_s: float) -> ProcessExit | None:
        """Return the exit of an adopted process; None while it runs, or if it is not reaped before `deadline_s`."""
        poll = select.poll()
        poll.register(process.pidfd, select.POLLIN)
        while poll.poll(0) and anyio.current_time() < deadline_s:
            answer, duplicates = await self._ask("get", id=process.id)
            for descriptor in duplicates:
                os.close(descriptor)
            if answer["exit"]:
                return exit_of(process.id, answer["exit"])
            await anyio.sleep(CONNECT_PAUSE_S)  # the keeper learns it from the pidfd, in its next round
        return None

    async def sweep(self) -> None:
        """Kill what runs in the engine's cgroups and is not managed by the keeper; drop its descriptors from the vault."""
        await self._ask("sweep")
        if self._vault is not None:
            await self._vault.retain(id for id, _ in self.held_containers())

    async def forget(self, id: str) -> None:
        """Drop an exited process. If it was a container's init, the container's cgroup is removed."""
        await self._ask("forget", id=id)
        held = self._held.pop(id, None)
        if held is not None:
            held.close()
            if self._vault is not None and held.id == held.container:
                await self._vault.drop(id)

    async def close_stdin(self, id: str) -> None:
        """Close every write end of the process's standard input, including that in `ProcessHandle.fds`: it reads EOF."""
        held = self._held.get(id)
        if held is not None and "stdin" in held.fds:
            os.close(held.fds.pop("stdin"))
            await self._store(held)
        await self._ask("close_stdin", id=id)

    async def adopt(self, process: ProcessHandle) -> None:
        """Hand a process of an earlier keeper to this one."""
        await self._ask(
            "adopt",
            [process.pidfd, *(process.fds[name] for name in sorted(process.fds))],
            id=process.id,
            container=process.container,
            pid=process.pid,
            fds=sorted(process.fds),
            cgroup=process.cgroup,
            started_at_ns=process.started_at_ns,
            exit=asdict(process.exit) if process.exit else None,
        )

    async def bye(self) -> None:
        """Announce that the engine exits on purpose: the keeper then does not restart it."""
        self.is_closing = True
        await self._ask("bye")


def start_keeper(paths: Paths) -> None:
    """Start a keeper and return once it listens. Raises InternalError."""
    start_helper(paths, Path(__file__).with_name("main.py"), paths.keeper_socket)


def _compiled(filters: OciSeccomp | None) -> bytes | None:
    """Compile the OCI document's `linux.seccomp` to BPF here: the keeper loads no system call tables, to stay small."""
    return _assembled(wire.pack(filters)) if filters else None


@lru_cache(maxsize=32)
def _assembled(filters: bytes) -> bytes:
    return seccomp_filters.compile_for_this_machine(wire.unpack(filters))
