"""A process that the keeper manages: its pidfd, the keeper's ends of its streams, and its exit."""

from __future__ import annotations

import fcntl
import os
import socket
import time

from runtime.hints import Any
from runtime.keeper import wire

PIPE_BYTES = 1 << 20


class ManagedProcess:
    """A container's init, or the process of an exec instance."""

    def __init__(self, id: str, pid: int, pidfd: int, fds: dict[str, int], cgroup: str | None, container: str) -> None:
        self.id = id
        self.pid = pid
        self.pidfd = pidfd
        self.fds = fds
        self.cgroup = cgroup
        self.container = container
        self.started_at_ns = time.time_ns()
        self.exit: dict[str, Any] | None = None

    def describe(self) -> dict[str, Any]:
        """Return the message that describes it; `descriptors` are the pidfd, then those in `fds` in that order."""
        return {
            "id": self.id,
            "pid": self.pid,
            "fds": sorted(self.fds),
            "started_at_ns": self.started_at_ns,
            "exit": self.exit,
            "container": self.container,
            "cgroup": self.cgroup,
        }

    def descriptors(self) -> list[int]:
        """Return the descriptors that are sent with `describe`."""
        return [self.pidfd, *(self.fds[name] for name in sorted(self.fds))]

    def close(self) -> None:
        """Close all descriptors."""
        for descriptor in self.descriptors():
            os.close(descriptor)
        self.fds = {}


class Stdio:
    """Both ends of a process's standard streams: three pipes, or a socket for the terminal that the child opens.

    `inner` are the child's ends (none with a terminal), `outer` the keeper's ends by name. Through `console_child` the
    child sends the main side of its terminal, which it opens in the container's devpts, to `console`.
    """

    def __init__(self, *, terminal: bool, stdin: bool) -> None:
        self.inner: list[int] = []
        self.outer: dict[str, int] = {}
        self.console: socket.socket | None = None
        self.console_child: socket.socket | None = None
        if terminal:
            self.console, self.console_child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            return
        if stdin:
            reader, self.outer["stdin"] = os.pipe2(os.O_CLOEXEC)
        else:
            reader = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self.inner.append(reader)
        for name in ("stdout", "stderr"):
            self.outer[name], writer = os.pipe2(os.O_CLOEXEC)
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            self.inner.append(writer)

    def of_child(self) -> list[int]:
        """Return the child's descriptors."""
        return [*self.inner, *([] if self.console_child is None else [self.console_child.fileno()])]

    def close_inner(self) -> None:
        """Close the child's ends."""
        for descriptor in self.inner:
            os.close(descriptor)
        self.inner = []
        if self.console_child is not None:
            self.console_child.close()
            self.console_child = None

    def close(self) -> None:
        """Close everything after a launch that failed."""
        self.close_inner()
        for descriptor in self.outer.values():
            os.close(descriptor)
        self.outer = {}
        if self.console is not None:
            self.console.close()
            self.console = None

    def take_console(self) -> None:
        """Receive the main side of the terminal, if the child has sent it."""
        if self.console is None:
            return
        try:
            _, received = wire.receive_descriptors(self.console, 1, 1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            received = []
        if received:
            self.outer["console"] = received[0]
        self.console.close()
        self.console = None
