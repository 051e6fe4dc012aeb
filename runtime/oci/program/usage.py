"""`events`: what a container uses, as JSON, a line each time; and a line when the kernel kills for want of memory."""

from __future__ import annotations

import json
import os
import select
import time

from runtime.hints import Any
from runtime.oci import cgroup_usage
from runtime.oci.cgroup import Cgroups
from runtime.oci.program import store
from runtime.oci.program.errors import ProgramError
from runtime.oci.program.store import Container


def show(container: Container, *, once: bool, interval_s: float) -> None:
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
    notice, event = _watch_memory(cgroups, container.cgroup)
    killed = cgroup_usage.oom_kills(cgroups, container.cgroup)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if notice >= 0:
        poll.register(notice, event)
    next_s = time.monotonic() + interval_s
    while True:
        ready = [descriptor for descriptor, _ in poll.poll(max(0.0, next_s - time.monotonic()) * 1000)]
        if notice in ready:
            if event == select.POLLIN:
                os.eventfd_read(notice)
            else:
                os.pread(notice, 4096, 0)  # what was read is no news any more
            count = cgroup_usage.oom_kills(cgroups, container.cgroup)
            if count > killed:
                killed = count
                _print(container.id, "oom", None)
        if pidfd in ready:
            return
        if time.monotonic() >= next_s:
            next_s += interval_s
            _print(container.id, "stats", _stats(cgroups, container.cgroup))


def _print(identity: str, kind: str, data: dict[str, Any] | None) -> None:
    print(json.dumps({"type": kind, "id": identity, **({"data": data} if data is not None else {})}), flush=True)


def _watch_memory(cgroups: Cgroups, path: str) -> tuple[int, int]:
    """Return a descriptor and what poll(2) says of it when the kernel has killed; -1 when nothing tells."""
    directories = cgroups.directories(path)
    try:
        if cgroups.is_unified:
            return os.open(f"{directories['unified']}/memory.events", os.O_RDONLY | os.O_CLOEXEC), select.POLLPRI
        # cgroup-v1/memory.rst, "OOM Control": an eventfd, registered with the file whose events are wanted
        notice = os.eventfd(0)
        control = os.open(f"{directories.get('memory')}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        with open(f"{directories.get('memory')}/cgroup.event_control", "w") as file:
            file.write(f"{notice} {control}")
        os.close(control)
    except OSError:  # no such controller
        return -1, 0
    return notice, select.POLLIN


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
