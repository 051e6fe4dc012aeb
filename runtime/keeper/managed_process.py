"""What the keeper holds of a process: its pidfd, the ends of its pipes, and how it ended."""

from __future__ import annotations

import fcntl
import os
import socket
import time

from runtime.hints import Any
from runtime.keeper import wire

PIPE_BYTES = 1 << 20


class ManagedProcess:
    """One process: a container's first, or an exec's."""

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
        """Return what the engine is told; descriptors follow in the order of `fds`, the pidfd first."""
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
        """Return the descriptors that go with `describe`."""
        return [self.pidfd, *(self.fds[name] for name in sorted(self.fds))]

    def close(self) -> None:
        """Let go of every descriptor."""
        for descriptor in self.descriptors():
            os.close(descriptor)
        self.fds = {}


class Stdio:
    """Both ends of a process's standard streams: pipes, or the way by which its terminal comes.

    `inner` are the child's descriptors (three, none with a terminal), `console` its socket, `outer` the keeper's ends.
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
        """Let go of the child's ends."""
        for descriptor in self.inner:
            os.close(descriptor)
        self.inner = []
        if self.console_child is not None:
            self.console_child.close()
            self.console_child = None

    def close(self) -> None:
        """Let go of everything: nothing came of it."""
        self.close_inner()
        for descriptor in self.outer.values():
            os.close(descriptor)
        self.outer = {}
        if self.console is not None:
            self.console.close()
            self.console = None

    def take_console(self) -> None:
        """Take the terminal's main end, if the child has sent it."""
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
