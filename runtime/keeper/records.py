"""process.json: identifies a container's process for an engine that finds neither keeper nor doorman.

A PID alone may have been reused, so the record also has the start time (proc_pid_stat(5), field 22) and the boot ID.
Pipes are identified by inode: if a process of the container has one open, another end of it can be opened through
`/proc/<pid>/fd/<number>` (proc_pid_fd(5): opening the link of a pipe works like opening a FIFO).
"""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

START_TIME = 19
"""Index of field 22 among those after the command's closing parenthesis."""
PARENT = 1
READ_ENDS = ("stdout", "stderr")


@dataclass(frozen=True)
class Record:
    """A container's process: PID, start time, boot, and the inodes of its pipes by name."""

    pid: int
    start_time: str
    boot: str
    cgroup: str | None
    started_at_ns: int
    pipes: Mapping[str, int]
    has_console: bool

    @classmethod
    def of(cls, pid: int, cgroup: str | None, started_at_ns: int, fds: Mapping[str, int]) -> Record | None:
        """Return the record of a running process with descriptors `fds`; None if it has exited."""
        fields = _fields(pid)
        pipes = {name: os.fstat(fd).st_ino for name, fd in fds.items() if name != "console"}
        if fields is None:
            return None
        return cls(pid, fields[START_TIME], boot_id(), cgroup, started_at_ns, pipes, "console" in fds)

    def write(self, path: Path) -> None:
        """Write the record to the file `path` (mode 0600)."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w") as file:
            json.dump(self.__dict__, file)

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """Return the record in the file `path`; None if there is none, or it is incomplete."""
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def open_process(self) -> int | None:
        """Return a pidfd of the process; None if it has exited, even if another process has its PID now."""
        if self.boot != boot_id():
            return None
        try:
            pidfd = os.pidfd_open(self.pid)
        except OSError:
            return None
        # checked after pidfd_open(2): the PID can't be reused in between
        fields = _fields(self.pid)
        if fields is None or fields[START_TIME] != self.start_time:
            os.close(pidfd)
            return None
        return pidfd

    def open_pipes(self, pids: Iterable[int]) -> dict[str, int]:
        """Open the other ends of those pipes that one of the processes `pids` still has open."""
        wanted = {f"pipe:[{inode}]": name for name, inode in self.pipes.items()}
        found: dict[str, int] = {}
        for pid in (self.pid, *pids):
            with suppress(OSError):
                for link in os.listdir(f"/proc/{pid}/fd"):
                    path = f"/proc/{pid}/fd/{link}"
                    with suppress(OSError):
                        name = wanted.get(os.readlink(path))
                        if name is not None and name not in found:
                            found[name] = _opened(path, name)
            if len(found) == len(wanted):
                break
        return found


def _opened(path: str, name: str) -> int:
    mode = os.O_RDONLY if name in READ_ENDS else os.O_WRONLY
    descriptor = os.open(path, mode | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EBADF, "it is no longer a pipe")
    os.set_blocking(descriptor, True)
    return descriptor


def kill_execs(pids: Sequence[int], first: int) -> None:
    """Kill the execs among a container's processes `pids`: with the engine and keeper that ran them gone, nobody waits.

    An exec was a child of the keeper, and is now one of a subreaper outside the container; orphans of the container
    itself are children of its init, `first`. Where it shares another PID namespace, the two can't be distinguished, and
    no process is killed.
    """
    if not _is_namespaces_first(first):
        return
    for pid in pids:
        fields = _fields(pid)
        if pid != first and fields is not None and int(fields[PARENT]) not in pids:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _is_namespaces_first(pid: int) -> bool:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return line.split()[-1] == "1"
    return False


def _fields(pid: int) -> list[str] | None:
    """Return the fields of /proc/<pid>/stat from `state` on; None if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


@cache
def boot_id() -> str:
    """Return what the kernel calls this boot of the machine (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
