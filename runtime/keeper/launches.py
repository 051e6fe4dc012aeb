"""Children between fork and execve(2), and the pipe through which they report errors."""

from __future__ import annotations

import marshal
import os
import socket
import time
from collections.abc import Callable, Mapping

from runtime.errors import KernelError, reason_of
from runtime.hints import TYPE_CHECKING, Any, NoReturn
from runtime.keeper.managed_process import Stdio
from runtime.linux import pidfd as pidfds
from runtime.oci import launch
from runtime.oci.process import StartError

if TYPE_CHECKING:
    from runtime.oci.types import OciSpec

SIBLING = b"P"


class Launch:
    """A child that sets itself up and will call execve(2).

    `report` is a CLOEXEC pipe: EOF without data means that execve(2) succeeded; otherwise it has exit code, newline,
    error, NUL and what to do about it.
    The answer goes to `connection` with the request's number `re`.
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

    def read_report(self) -> bool:
        """Read from the pipe; return False at EOF."""
        try:
            chunk = os.read(self.report, 4096)
        except BlockingIOError:  # the event was that of another descriptor, which had this number
            return True
        self.said += chunk
        if self.said.startswith(SIBLING) and b"\n" in self.said:  # the child continues as a sibling (CLONE_PARENT)
            # the child exits soon and is not awaited. The sibling's PID can't be reused before pidfd_open(2), as the
            # keeper reaps no unknown child while there are launches (`Processes.reap`)
            os.close(self.pidfd)
            number, _, self.said = self.said.removeprefix(SIBLING).partition(b"\n")
            self.pid = int(number)
            self.pidfd = os.pidfd_open(self.pid)
        if not chunk and self.is_late and not self.said:
            self.said = f"128\n{self.lateness}".encode()
        return bool(chunk)

    @property
    def lateness(self) -> str:
        """The error of a launch that timed out."""
        return f"the process did not start within {self.timeout_s:g} s"

    def kill(self) -> None:
        """Send SIGKILL; a child that is frozen or in an uninterruptible wait dies later."""
        self.is_late = True
        pidfds.kill(self.pidfd)


def report_pipe() -> tuple[int, int]:
    """Return (non-blocking read end, the child's write end) of a pipe for errors of a launch."""
    ours, childs = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(ours, False)
    return ours, childs


def fork(
    message: Mapping[str, Any],
    stdio: Stdio,
    cgroup: str | None,
    flags: int,
    child: Callable[[int], None],
    kept: int,
    cgroup_descriptor: int = -1,
) -> Launch:
    """Clone a child that runs `child(report)`, which does not return unless it fails.

    The child inherits only its streams, the write end of its report and the descriptor `kept`.
    """
    report, report_child = report_pipe()
    pid, pidfd = launch.clone(flags, cgroup_descriptor)
    if pid == 0:
        launch.close_inherited_fds([report_child, kept, *stdio.of_child()])
        run_child(report_child, lambda: child(report_child))
    os.close(report_child)
    stdio.close_inner()
    return Launch(message, pid, pidfd, report, stdio, cgroup)


def run_child(report: int, become: Callable[[], None]) -> NoReturn:
    """Call `become`, which ends in execve(2). If it raises or returns, write the error to `report` and exit."""
    code, text, hint = 128, "the process was not executed", ""
    try:
        become()
    except StartError as error:
        code, text, hint = error.exit_code, error.message, error.hint
    except KernelError as error:
        text, hint = error.message, error.hint or ""
    except BaseException as error:  # noqa: BLE001 - the child must never return into the keeper's loop
        text = reason_of(error)
    os.write(report, f"{code}\n{text}\0{hint}".encode())
    os._exit(code)


def read(spec: int) -> OciSpec:
    """Return the OCI document in the memfd `spec`. Called in a child only: marshal may crash on malformed data."""
    size = os.fstat(spec).st_size
    document: OciSpec = marshal.loads(os.pread(spec, size, 0))
    return document
