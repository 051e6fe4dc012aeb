"""`events`: what a container uses, as JSON, a line each time; and a line when the kernel kills for want of memory."""

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
    """Print what `container` uses: once, or every `interval_s` until it has ended."""
    if interval_s <= 0:
        raise ProgramError("--interval must be above 0")
    container.need(store.CREATED, store.RUNNING, store.PAUSED)
    if container.cgroup is None:
        raise ProgramError(f"container {container.id} has no cgroup that counts for it")
    cgroups = Cgroups()
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
    """What tells of a want of memory that ends in killing: `event` of `descriptor` (poll(2)); -1 where nothing does."""

    def __init__(self, cgroups: Cgroups, path: str) -> None:
        directories = cgroups.directories(path)
        self.descriptor, self.event = -1, select.POLLPRI
        self._killed = 0
        with contextlib.suppress(OSError):  # no such controller
            if cgroups.is_unified:
                self.descriptor = os.open(f"{directories['unified']}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
                self.has_grown()
                return
            # cgroup-v1/memory.rst, "OOM Control": an eventfd, registered with the file whose events are wanted
            notice = os.eventfd(0)
            control = os.open(f"{directories.get('memory')}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            with open(f"{directories.get('memory')}/cgroup.event_control", "w") as file:
                file.write(f"{notice} {control}")
            os.close(control)
            self.descriptor, self.event = notice, select.POLLIN

    def has_grown(self) -> bool:
        """Take the news; returns whether they are of another kill, and not of what else version 2 counts."""
        if self.event == select.POLLIN:
            # version 1 tells before anybody is killed, and so before the kill is counted
            os.eventfd_read(self.descriptor)
            return True
        counts = dict(line.split() for line in os.pread(self.descriptor, 4096, 0).decode().splitlines())
        before, self._killed = self._killed, int(counts.get("oom_kill", 0))
        return self._killed > before


def _print(identity: str, kind: str, data: dict[str, Any] | None) -> None:
    print(json.dumps({"type": kind, "id": identity, **({"data": data} if data is not None else {})}), flush=True)


def _stats(cgroups: Cgroups, path: str) -> dict[str, Any]:
    """Return the numbers in the form that runc(8) events has."""
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
