"""`events`: prints a container's resource usage as lines of JSON, and a line for each OOM kill."""

from __future__ import annotations

import contextlib
import json
import os
import select
import time

from runtime.hints import Any
from runtime.oci import cgroup_usage
from runtime.oci.cgroup import Cgroups
from runtime.oci.program import store
from runtime.oci.program.errors import ProgramError
from runtime.oci.program.store import StoredContainer


def show(container: StoredContainer, *, once: bool, interval_s: float) -> None:
    """Print the usage of `container`: once, or every `interval_s` seconds until it exits."""
    if interval_s <= 0:
        raise ProgramError("--interval must be above 0")
    container.need(store.CREATED, store.RUNNING, store.PAUSED)
    if container.cgroup is None:
        raise ProgramError(f"container {container.id} has no cgroup, which would count its usage")
    cgroups = Cgroups(has_systemd_tree=True)
    if once:
        _print(container.id, "stats", _stats(cgroups, container.cgroup))
        return
    pidfd = os.pidfd_open(int(container.record["pid"]))
    out_of_memory = _OutOfMemory(cgroups, container.cgroup)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if out_of_memory.descriptor >= 0:
        poll.register(out_of_memory.descriptor, out_of_memory.event)
    next_s = time.monotonic() + interval_s
    while True:
        ready = [descriptor for descriptor, _ in poll.poll(max(0.0, next_s - time.monotonic()) * 1000)]
        if out_of_memory.descriptor in ready and out_of_memory.has_grown():
            _print(container.id, "oom", None)
        if pidfd in ready:
            return
        if time.monotonic() >= next_s:
            next_s += interval_s
            _print(container.id, "stats", _stats(cgroups, container.cgroup))


class _OutOfMemory:
    """Notifications of OOM kills: poll(2) `descriptor` for `event`; -1 if there is no memory controller."""

    def __init__(self, cgroups: Cgroups, path: str) -> None:
        directories = cgroups.directories(path)
        self.descriptor, self.event = -1, select.POLLPRI
        self._killed = 0
        with contextlib.suppress(OSError):  # no memory controller
            if cgroups.is_unified:
                self.descriptor = os.open(f"{directories['unified']}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
                self.has_grown()
                return
            # cgroup-v1/memory.rst, "OOM Control": an eventfd is registered with the file
            notice = os.eventfd(0)
            control = os.open(f"{directories.get('memory')}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            with open(f"{directories.get('memory')}/cgroup.event_control", "w") as file:
                file.write(f"{notice} {control}")
            os.close(control)
            self.descriptor, self.event = notice, select.POLLIN

    def has_grown(self) -> bool:
        """Read the notification; return whether there was an OOM kill (version 2 notifies of other events too)."""
        if self.event == select.POLLIN:
            # version 1 notifies before the kill, so before it is counted
            os.eventfd_read(self.descriptor)
            return True
        counts = dict(line.split() for line in os.pread(self.descriptor, 4096, 0).decode().splitlines())
        before, self._killed = self._killed, int(counts.get("oom_kill", 0))
        return self._killed > before


def _print(identity: str, kind: str, data: dict[str, Any] | None) -> None:
    print(json.dumps({"type": kind, "id": identity, **({"data": data} if data is not None else {})}), flush=True)


def _stats(cgroups: Cgroups, path: str) -> dict[str, Any]:
    """Return the counters in the format of `runc events`."""
    used = cgroup_usage.measure(cgroups, path)
    memory = {"usage": used["memory"], "limit": used["memory_limit"]}
    io = [
        {"major": major, "minor": minor, "op": operation.capitalize(), "value": count}
        for major, minor, operation, count, _ in used["io"]
    ]
    requests = [
        {"major": major, "minor": minor, "op": operation.capitalize(), "value": count}
        for major, minor, operation, _, count in used["io"]
    ]
    return {
        "cpu": {
            "usage": {"total": used["cpu_ns"], "kernel": used["system_ns"], "user": used["user_ns"]},
            "throttling": {
                "periods": used["periods"],
                "throttledPeriods": used["throttled_periods"],
                "throttledTime": used["throttled_ns"],
            },
        },
        "memory": {
            "cache": used["memory_stat"].get("cache", used["memory_stat"].get("file", 0)),
            "usage": memory,
            "raw": used["memory_stat"],
        },
        "pids": {"current": used["pids"], "limit": used["pids_limit"]},
        "blkio": {"ioServiceBytesRecursive": io, "ioServicedRecursive": requests},
    }
