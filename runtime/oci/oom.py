"""News of control groups that ran out of memory, as the kernel tells it.

Version 1: an eventfd that is registered for memory.oom_control (kernel: cgroup-v1/memory.rst, "OOM Control"). Version 2: a
file that is changed, memory.events (kernel: cgroup-v2.rst, "Memory Interface Files"), all of them seen by one inotify
instance: a descriptor for each of 500 containers is not to be had everywhere.
"""

from __future__ import annotations

import os

from runtime.linux.inotify import IN_MODIFY, Inotify
from runtime.oci import cgroup_usage
from runtime.oci.cgroup import Cgroups


class LegacyOomWatch:
    """Watches cgroup `path` of version 1; `fileno()` can be read from when there may be news.

    Raises OSError where nothing tells.
    """

    def __init__(self, cgroups: Cgroups, path: str) -> None:
        directory = cgroups.directories(path)["memory"]
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            control = os.open(f"{directory}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            try:
                registry = os.open(f"{directory}/cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC)
                try:
                    os.write(registry, f"{self._event} {control}".encode())
                finally:
                    os.close(registry)
            finally:
                os.close(control)
        except BaseException:
            os.close(self._event)
            raise
        self._control = f"{directory}/memory.oom_control"

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._event

    def has_happened(self) -> bool:
        """Whether the cgroup ran out of memory since the last look."""
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            return False
        # the kernel tells of the cgroup's end the same way
        return os.path.exists(self._control)

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self._event)


class OomWatches:
    """Watches any number of cgroups of version 2. Raises KernelError where no inotify instance is to be had."""

    def __init__(self, cgroups: Cgroups) -> None:
        self._cgroups = cgroups
        self._inotify = Inotify()
        self._watched: dict[int, tuple[str, int]] = {}

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._inotify.fileno()

    def add(self, path: str) -> int:
        """Watch cgroup `path`; return the watch. Raises KernelError where nothing tells."""
        kills = cgroup_usage.oom_kills(self._cgroups, path)
        watch = self._inotify.add(f"{self._cgroups.directories(path)['unified']}/memory.events", IN_MODIFY)
        self._watched[watch] = (path, kills)
        return watch

    def remove(self, watch: int) -> None:
        """Watch a cgroup no more."""
        if self._watched.pop(watch, None) is not None:
            self._inotify.remove(watch)

    def news(self) -> list[int]:
        """Return the watches of the cgroups that ran out of memory since the last look."""
        told = set(self._inotify.read())
        found = []
        for watch in list(self._watched) if -1 in told else told & self._watched.keys():
            path, before = self._watched[watch]
            kills = cgroup_usage.oom_kills(self._cgroups, path)
            if kills > before:
                self._watched[watch] = (path, kills)
                found.append(watch)
        return found
