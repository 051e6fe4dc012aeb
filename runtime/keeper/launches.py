"""Children on their way to the user's program, and the one that stands by for the next container."""

from __future__ import annotations

import marshal
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping

from runtime.hints import Any, NoReturn
from runtime.keeper import wire
from runtime.keeper.kept import Stdio
from runtime.linux import syscalls as linux
from runtime.oci import launch
from runtime.oci.cgroup import Cgroups
from runtime.oci.process import LaunchError

READY = b"r"
SIBLING = b"P"
STANDBY = "standby-"
STANDBY_NAMESPACES = {"pid", "ipc", "uts"}


class Launch:
    """A child that was asked to become a process; `report` ends, without a word, once it executes.

    `connection` and `re` are where and to which message the engine is answered.
    """

    def __init__(
        self, message: Mapping[str, Any], pid: int, pidfd: int, report: int, stdio: Stdio, cgroup: str | None
    ) -> None:
        self.id: str = message["id"]
        self.container: str = message.get("container") or message["id"]
        self.re = message.get("re")
        self.connection: socket.socket | None = None
        self.pid = pid
        self.pidfd = pidfd
        self.report = report
        self.stdio = stdio
        self.cgroup = cgroup
        self.timeout_s: float = message["timeout_s"]
        self.deadline_s = time.monotonic() + self.timeout_s
        self.said = b""
        self.is_late = False

    def hear(self) -> bool:
        """Take what the child says; False once it has said everything."""
        chunk = os.read(self.report, 4096)
        self.said += chunk
        if self.said.startswith(SIBLING) and b"\n" in self.said:  # the child has put a sibling in its place
            os.waitpid(self.pid, 0)
            os.close(self.pidfd)
            number, _, self.said = self.said.removeprefix(SIBLING).partition(b"\n")
            self.pid = int(number)
            self.pidfd = os.pidfd_open(self.pid)
        if not chunk and self.is_late and not self.said:
            self.said = f"128\n{self.lateness}".encode()
        return bool(chunk)

    @property
    def lateness(self) -> str:
        """What is said of a child that had its time."""
        return f"the process did not start within {self.timeout_s:g} s"

    def kill(self) -> None:
        """Kill the child; one that is frozen, or waits for a device, dies later."""
        self.is_late = True
        linux.call("pidfd_send_signal", self.pidfd, signal.SIGKILL, None, 0)


def fork(
    message: Mapping[str, Any],
    stdio: Stdio,
    cgroup: str | None,
    flags: int,
    child: Callable[[int], None],
    kept: int,
    cgroup_descriptor: int = -1,
) -> Launch:
    """Clone a child that runs `child(report)`, which returns only by raising.

    Of what the keeper has open, the child has its streams and descriptor `kept`.
    """
    report, report_child = os.pipe2(os.O_CLOEXEC)
    pid, pidfd = launch.clone(flags, cgroup_descriptor)
    if pid == 0:
        launch.let_go([report_child, kept, *stdio.of_child()])
        attempt(report_child, lambda: child(report_child))
    os.close(report_child)
    stdio.close_inner()
    return Launch(message, pid, pidfd, report, stdio, cgroup)


def attempt(report: int, become: Callable[[], None]) -> NoReturn:
    """Call `become`, which does not return when all goes well; tell `report` why it did, and exit."""
    code, text = 128, "the process was not executed"
    try:
        become()
    except LaunchError as error:
        code, text = error.exit_code, str(error)
    except BaseException as error:  # noqa: BLE001 - the child must never return into the keeper's loop
        text = str(error) or type(error).__name__
    os.write(report, f"{code}\n{text}".encode())
    os._exit(code)


class Standby:
    """A child that waits, inside a cgroup of its own, to become the next container's process.

    With cgroup version 1 a process that enters a cgroup waits for the kernel: cgroup_threadgroup_rwsem is a percpu
    lock, and its first writer waits for an RCU grace period (6 to 16 ms). The standby has waited already; its cgroup is
    renamed to the container's. Version 2 needs none: clone3(2) makes the child inside its cgroup.
    """

    def __init__(self, cgroups: Cgroups, parent: str, number: int) -> None:
        self.cgroup = f"{parent}/{STANDBY}{os.getpid()}-{number}"
        self._cgroups = cgroups
        self._has_entered = False
        cgroups.create(self.cgroup, {})
        self._job, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid, self.pidfd = launch.clone(launch.namespace_flags([{"type": one} for one in STANDBY_NAMESPACES]))
        if self.pid == 0:
            try:
                self._wait(theirs)
            except BaseException as error:  # noqa: BLE001 - the child must never return into the keeper's loop
                os.write(2, f"skiff keeper: the standby failed: {error!r}\n".encode())
            os._exit(128)
        theirs.close()

    def _wait(self, job: socket.socket) -> None:
        launch.let_go([job.fileno()])
        self._cgroups.enter(self.cgroup)
        job.send(READY)
        try:
            message, descriptors = wire.receive(job)
        except ConnectionResetError:  # the keeper let go of it before it heard that it is ready
            message, descriptors = None, []
        job.close()
        if message is None:
            os._exit(0)
        report, spec, *stdio = descriptors
        console = None
        if message["terminal"]:
            console = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=stdio.pop())
        attempt(report, lambda: launch.container(read(spec), message["bundle"], stdio, console, is_placed=True))

    def is_ready(self) -> bool:
        """Whether the standby waits inside its cgroup."""
        if not self._has_entered:
            try:
                # taken, not peeked at: closing a socket with something unread takes from the peer what was sent to it
                self._has_entered = self._job.recv(1, socket.MSG_DONTWAIT) == READY
            except OSError:
                return False
        return self._has_entered

    def fits(self, message: Mapping[str, Any]) -> bool:
        """Whether the container of `message` can be made of the standby: its namespaces, its cgroup's place."""
        made = {one["type"] for one in message["namespaces"] if not one.get("path")}
        return (
            made - {"mount", "cgroup", "network"} == STANDBY_NAMESPACES
            and "user" not in {one["type"] for one in message["namespaces"]}
            and os.path.dirname(message["cgroup"]) == os.path.dirname(self.cgroup)
        )

    def move(self, cgroup: str) -> None:
        """Give the standby's cgroup the container's name. Raises OSError when it can't have it."""
        self._cgroups.rename(self.cgroup, cgroup)
        self.cgroup = cgroup

    def become(self, message: Mapping[str, Any], spec: int, stdio: Stdio) -> Launch:
        """Have the standby become the container of `message`. Raises OSError when it can't be asked."""
        report, report_child = os.pipe2(os.O_CLOEXEC)
        consoles = [] if stdio.console_child is None else [stdio.console_child.fileno()]
        try:
            wire.send(
                self._job,
                {"bundle": message["bundle"], "terminal": bool(consoles)},
                [report_child, spec, *stdio.inner, *consoles],
            )
        except OSError:
            os.close(report)
            raise
        finally:
            os.close(report_child)
        self._job.close()
        stdio.close_inner()
        return Launch(message, self.pid, self.pidfd, report, stdio, self.cgroup)

    def retire(self) -> None:
        """End the standby and remove its cgroup."""
        self._job.close()
        linux.call("pidfd_send_signal", self.pidfd, signal.SIGKILL, None, 0)
        os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        os.close(self.pidfd)
        self._cgroups.remove(self.cgroup)


def sweep_standbys(cgroups: Cgroups, parent: str) -> None:
    """Remove what the standby of a keeper that was killed left."""
    for directory in cgroups.directories(parent).values():
        names = os.listdir(directory) if os.path.isdir(directory) else []
        for name in names:
            if name.startswith(STANDBY):
                _end_all(f"{directory}/{name}/cgroup.procs")
                cgroups.remove(f"{parent}/{name}")


def _end_all(processes: str) -> None:
    with open(processes) as file:
        pids = [int(line) for line in file]
    for pid in pids:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        select.select([pidfd], (), ())
        os.close(pidfd)


def read(spec: int) -> dict[str, Any]:
    """Return the document that descriptor `spec` holds; read in a child, which a malformed one may cost."""
    size = os.fstat(spec).st_size
    document: dict[str, Any] = marshal.loads(os.pread(spec, size, 0))
    return document
