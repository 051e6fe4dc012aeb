"""Processes and resource usage of a running container (Docker Engine API, "top", "stats")."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio

from runtime.engine.containers.state import Container
from runtime.engine.times import rfc3339
from runtime.errors import BadRequestError
from runtime.oci.cgroup import Cgroups

DEFAULT_PS = "-ef"
TITLES = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]

NOTHING: dict[str, Any] = {
    "memory": 0, "memory_limit": 0, "memory_stat": {}, "cpu_ns": 0, "user_ns": 0, "system_ns": 0, "periods": 0,
    "throttled_periods": 0, "throttled_ns": 0, "pids": 0, "pids_limit": 0, "io": [],
}  # fmt: skip
"""The counters (`runtime.oci.cgroup_usage`) of a container that is not running."""

NEVER = "0001-01-01T00:00:00Z"
BLOCK_IO = (
    "io_service_bytes_recursive", "io_serviced_recursive", "io_queue_recursive", "io_service_time_recursive",
    "io_wait_time_recursive", "io_merged_recursive", "io_time_recursive", "sectors_recursive",
)  # fmt: skip
"""Docker's tables of block I/O; the kernel no longer has those after the second."""

INTERFACE_COUNTS = {
    "rx_bytes": 0, "rx_packets": 1, "rx_errors": 2, "rx_dropped": 3,
    "tx_bytes": 8, "tx_packets": 9, "tx_errors": 10, "tx_dropped": 11,
}  # fmt: skip
"""Docker's names → columns of proc_net_dev(5), after the interface's name."""


async def processes(engine_id: str, container: Container, ps_arguments: str) -> dict[str, Any]:
    """Return the processes of a running container as listed by the host's `ps` with `ps_arguments`.

    Raises BadRequestError if ps fails.
    """
    cgroups = Cgroups()
    path = f"/skiff-{engine_id}/{container.id}"
    pids = cgroups.processes(path) if cgroups.are_ours else _processes_of_namespace(container.state.pid)
    if ps_arguments.strip() == DEFAULT_PS:
        return {"Titles": TITLES, "Processes": _rows(pids)}
    result = await anyio.run_process(["ps", *ps_arguments.split()], check=False)
    if result.returncode:
        raise BadRequestError(f"ps: {result.stderr.decode(errors='replace').strip()}")
    return listed(result.stdout.decode(errors="replace"), {str(pid) for pid in pids})


def _processes_of_namespace(pid: int) -> list[int]:
    """Return the processes in the PID namespace of `pid`; only `pid` itself if that is the host's namespace."""

    def namespace(process: str) -> int:
        return os.stat(f"/proc/{process}/ns/pid").st_ino

    wanted = namespace(str(pid))
    if wanted == namespace("self"):
        return [pid]
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):  # it has exited, or belongs to another user
            if namespace(name) == wanted:
                found.append(int(name))
    return sorted(found)


def listed(output: str, pids: Collection[str]) -> dict[str, Any]:
    """Return the lines of ps for the processes `pids`. Raises BadRequestError if there is no column PID."""
    header, _, rest = output.partition("\n")
    titles = header.split()
    if "PID" not in titles:
        raise BadRequestError("Couldn't find PID field in ps output")
    place = titles.index("PID")
    rows = [line.split(None, len(titles) - 1) for line in rest.splitlines()]
    return {"Titles": titles, "Processes": [row for row in rows if len(row) > place and row[place] in pids]}


def _rows(pids: Iterable[int]) -> list[list[str]]:
    rows = []
    for pid in pids:
        try:
            rows.append(_row(str(pid)))
        except OSError:  # it has exited
            continue
    return rows


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
    """Return Docker's statistics for the cgroup's counters `numbers`; `before` are the last ones returned."""
    cpu = {**_cpu(numbers), "system_cpu_usage": _system_cpu_ns(), "online_cpus": os.cpu_count() or 1}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    pids = {"current": numbers["pids"]}
    if numbers["pids_limit"]:
        pids["limit"] = numbers["pids_limit"]
    return {
        "read": rfc3339(time.time_ns()),
        "preread": before["read"] if before else NEVER,
        "id": container.id,
        "name": f"/{container.name}",
        "num_procs": 0,
        "storage_stats": {},
        "pids_stats": pids,
        "cpu_stats": cpu,
        "precpu_stats": before["cpu_stats"] if before else _cpu(NOTHING),
        "memory_stats": {
            "usage": numbers["memory"],
            **({"max_usage": numbers["memory_peak"]} if "memory_peak" in numbers else {}),
            "limit": min(numbers["memory_limit"] or memory, memory),
            "stats": numbers["memory_stat"],
        },
        "blkio_stats": _block_io(numbers),
        "networks": _interfaces(container),
    }


def nothing(container: Container) -> dict[str, Any]:
    """Return the statistics of a container that is not running: only its name."""
    return {
        "read": NEVER,
        "preread": NEVER,
        "id": container.id,
        "name": f"/{container.name}",
        "num_procs": 0,
        "storage_stats": {},
        "pids_stats": {},
        "cpu_stats": _cpu(NOTHING),
        "precpu_stats": _cpu(NOTHING),
        "memory_stats": {},
        "blkio_stats": dict.fromkeys(BLOCK_IO),
    }


def _cpu(numbers: dict[str, Any]) -> dict[str, Any]:
    return {
        "cpu_usage": {
            "total_usage": numbers["cpu_ns"],
            **({"percpu_usage": numbers["processors_ns"]} if numbers.get("processors_ns") else {}),
            "usage_in_usermode": numbers["user_ns"],
            "usage_in_kernelmode": numbers["system_ns"],
        },
        "throttling_data": {
            "periods": numbers["periods"],
            "throttled_periods": numbers["throttled_periods"],
            "throttled_time": numbers["throttled_ns"],
        },
    }


def _block_io(numbers: dict[str, Any]) -> dict[str, Any]:
    """Return Docker's tables; those that the kernel does not keep are empty with version 1, and null with version 2."""
    entries: list[list[Any]] = numbers["io"]

    def column(which: int) -> list[dict[str, Any]]:
        return [{"major": entry[0], "minor": entry[1], "op": entry[2], "value": entry[which]} for entry in entries]

    counted = {"io_service_bytes_recursive": column(3), "io_serviced_recursive": column(4)}
    return {**{name: [] if "memory_peak" in numbers else None for name in BLOCK_IO}, **counted}


def _interfaces(container: Container) -> dict[str, dict[str, int]]:
    """Return the traffic counters of the container's network interfaces; {} if it is on the host's network."""
    if not container.state.pid or (container.host.get("NetworkMode") or "") == "host":
        return {}
    try:
        lines = Path(f"/proc/{container.state.pid}/net/dev").read_text().splitlines()[2:]
    except OSError:  # it has exited
        return {}
    found = {}
    for line in lines:
        name, _, counts = line.partition(":")
        columns = counts.split()
        if name.strip() != "lo":
            found[name.strip()] = {key: int(columns[place]) for key, place in INTERFACE_COUNTS.items()}
    return found


def _system_cpu_ns() -> int:
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8]
    return sum(int(field) for field in fields) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
