"""Notifications of OOM kills in cgroups.

Version 1: an eventfd registered for memory.oom_control (kernel: cgroup-v1/memory.rst, "OOM Control"). Version 2: inotify
on memory.events (kernel: cgroup-v2.rst, "Memory Interface Files"), with one instance for all containers, as the number of
instances for each user is limited (128 by default).
"""

from __future__ import annotations

import os

from runtime.linux.inotify import IN_MODIFY, Inotify
from runtime.oci import cgroup_usage
from runtime.oci.cgroup import Cgroups


class LegacyOomWatch:
    """Watches cgroup `path` of version 1; `fileno()` becomes readable on a notification. Raises OSError."""

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
        self._kills = self._read().get("oom_kill", 0)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._event

    def take(self) -> bool:
        """Take a notification; return whether there was one.

        It comes before the kill, for one kill often many times, and when the cgroup is removed.
        """
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            return False
        return True

    def has_happened(self) -> bool:
        """Whether there was an OOM kill since the last call, or memory is short and nothing may be killed."""
        state = self._read()
        before, self._kills = self._kills, max(self._kills, state.get("oom_kill", 0))
        return self._kills > before or bool(state.get("oom_kill_disable") and state.get("under_oom"))

    def _read(self) -> dict[str, int]:
        try:
            with open(self._control) as file:
                return {name: int(value) for name, _, value in (line.partition(" ") for line in file)}
        except OSError:  # the cgroup was removed
            return {}

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._event)


class OomWatches:
    """Watches any number of cgroups of version 2. Raises KernelError if no inotify instance is available."""

    def __init__(self, cgroups: Cgroups) -> None:
        self._cgroups = cgroups
        self._inotify = Inotify()
        self._watched: dict[int, tuple[str, int]] = {}

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._inotify.fileno()

    def add(self, path: str) -> int:
        """Watch cgroup `path`; return the watch descriptor. Raises KernelError."""
        kills = cgroup_usage.oom_kills(self._cgroups, path)
        watch = self._inotify.add(f"{self._cgroups.directories(path)['unified']}/memory.events", IN_MODIFY)
        self._watched[watch] = (path, kills)
        return watch

    def remove(self, watch: int) -> None:
        """Stop watching a cgroup."""
        if self._watched.pop(watch, None) is not None:
            self._inotify.remove(watch)

    def news(self) -> list[int]:
        """Return the watch descriptors of the cgroups with OOM kills since the last call."""
        changed = set(self._inotify.read())
        found = []
        for watch in list(self._watched) if -1 in changed else changed & self._watched.keys():  # -1: IN_Q_OVERFLOW
            path, before = self._watched[watch]
            kills = cgroup_usage.oom_kills(self._cgroups, path)
            if kills > before:
                self._watched[watch] = (path, kills)
                found.append(watch)
        return found
