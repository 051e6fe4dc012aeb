"""What a running container uses: its processes, its numbers (Docker Engine API, "Top", "Stats")."""

from __future__ import annotations

import os
import pwd
import time
from pathlib import Path
from typing import Any

from runtime.engine.state import Container, rfc3339
from runtime.oci.cgroup import Cgroups

TITLES = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]

NOTHING = {"memory": 0, "memory_limit": 0, "cache": 0, "cpu_ns": 0, "user_ns": 0, "system_ns": 0, "pids": 0}
"""The numbers of a container that does not run."""


def processes(engine_id: str, container: Container) -> dict[str, Any]:
    """Return the processes of a running container as `ps -ef` on the host would list them."""
    directory = next(iter(Cgroups().directories(f"/skiff-{engine_id}/{container.id}").values()))
    rows = []
    for pid in (Path(directory) / "cgroup.procs").read_text().split():
        try:
            rows.append(_row(pid))
        except OSError:  # it ended meanwhile
            continue
    return {"Titles": TITLES, "Processes": rows}


def _row(pid: str) -> list[str]:
    folder = Path("/proc", pid)
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    seconds = (int(fields[11]) + int(fields[12])) // ticks
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    started = time.time() - uptime + int(fields[19]) / ticks
    uid = folder.stat().st_uid
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    terminal = "?" if fields[4] == "0" else f"pts/{int(fields[4]) & 0xFF}"
    spent = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return [user, pid, fields[1], "0", time.strftime("%H:%M", time.localtime(started)), terminal, spent, line]


def statistics(container: Container, numbers: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    """Return Docker's statistics from a cgroup's `numbers`; `before` is what was returned last."""
    cpu = {
        "cpu_usage": {
            "total_usage": numbers["cpu_ns"],
            "usage_in_usermode": numbers["user_ns"],
            "usage_in_kernelmode": numbers["system_ns"],
        },
        "system_cpu_usage": _system_cpu_ns(),
        "online_cpus": os.cpu_count() or 1,
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    }
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = min(numbers["memory_limit"] or memory, memory)
    now = rfc3339(time.time_ns())
    return {
        "read": now,
        "preread": before["read"] if before else "0001-01-01T00:00:00Z",
        "id": container.id,
        "name": f"/{container.name}",
        "num_procs": 0,
        "pids_stats": {"current": numbers["pids"]},
        "cpu_stats": cpu,
        "precpu_stats": before["cpu_stats"] if before else {"cpu_usage": {"total_usage": 0}},
        "memory_stats": {
            "usage": numbers["memory"],
            "limit": limit,
            "stats": {"inactive_file": numbers["cache"], "total_inactive_file": numbers["cache"]},
        },
        "blkio_stats": {},
        "networks": {},
    }


def _system_cpu_ns() -> int:
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8]
    return sum(int(field) for field in fields) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
