"""News of a control group that ran out of memory, as the kernel tells it.

Version 1: an eventfd that is registered for memory.oom_control (kernel: cgroup-v1/memory.rst, "OOM Control"). Version 2: a
file that is changed, memory.events (kernel: cgroup-v2.rst, "Memory Interface Files").
"""

from __future__ import annotations

import os
import select

from runtime.oci import cgroup_usage
from runtime.oci.cgroup import Cgroups


class OomWatch:
    """Watches cgroup `path`; `fileno()` can be read from when there may be news. Raises OSError where nothing tells."""

    def __init__(self, cgroups: Cgroups, path: str) -> None:
        self._cgroups = cgroups
        self._path = path
        self._control = ""
        self._killed = 0
        directories = cgroups.directories(path)
        if not cgroups.is_unified:
            self._watch_legacy(directories["memory"])
            return
        self._killed = cgroup_usage.oom_kills(cgroups, path)
        self._file = os.open(f"{directories['unified']}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
        # a changed file has an exceptional condition: within an epoll that is something to read
        self._poll = select.epoll()
        self._poll.register(self._file, select.EPOLLPRI)
        os.read(self._file, 1)

    def _watch_legacy(self, directory: str) -> None:
        self._file = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            control = os.open(f"{directory}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            try:
                registry = os.open(f"{directory}/cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC)
                try:
                    os.write(registry, f"{self._file} {control}".encode())
                finally:
                    os.close(registry)
            finally:
                os.close(control)
        except BaseException:
            os.close(self._file)
            raise
        self._control = f"{directory}/memory.oom_control"

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._file if self._control else self._poll.fileno()

    def has_happened(self) -> bool:
        """Whether the cgroup ran out of memory since the last look; what comes next is waited for anew."""
        if self._control:
            try:
                os.eventfd_read(self._file)
            except BlockingIOError:
                return False
            # the kernel tells of the cgroup's end the same way
            return os.path.exists(self._control)
        os.lseek(self._file, 0, os.SEEK_SET)
        os.read(self._file, 1)
        before, self._killed = self._killed, cgroup_usage.oom_kills(self._cgroups, self._path)
        return self._killed > before

    def close(self) -> None:
        """Let go of the descriptors."""
        if not self._control:
            self._poll.close()
        os.close(self._file)
