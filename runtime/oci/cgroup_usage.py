"""The counters of a cgroup (usage, throttling, OOM kills), in the same units for both versions."""

from __future__ import annotations

from runtime.hints import Any
from runtime.oci.cgroup import Cgroups


def measure(cgroups: Cgroups, path: str) -> dict[str, Any]:
    """Return the counters of cgroup `path`: memory in bytes, CPU time in nanoseconds, processes, block I/O.

    Limits that are not set, and values of controllers that the machine lacks, are 0. `memory_stat` is the kernel's
    memory.stat; `io` has entries [major, minor, operation, bytes, requests]. Only version 1 has
    `memory_peak` and `processors_ns` (of each CPU).
    """
    directories = cgroups.directories(path)
    if cgroups.is_unified:
        return _unified(directories.get("unified", ""))
    return _legacy({name: directories.get(name, "") for name in ("memory", "cpu", "cpuacct", "pids", "blkio")})


def _unified(base: str) -> dict[str, Any]:
    cpu = _keyed(f"{base}/cpu.stat")
    return {
        "memory": _number(f"{base}/memory.current"),
        "memory_limit": _number(f"{base}/memory.max"),
        "memory_stat": _keyed(f"{base}/memory.stat"),
        "cpu_ns": cpu.get("usage_usec", 0) * 1000,
        "user_ns": cpu.get("user_usec", 0) * 1000,
        "system_ns": cpu.get("system_usec", 0) * 1000,
        "periods": cpu.get("nr_periods", 0),
        "throttled_periods": cpu.get("nr_throttled", 0),
        "throttled_ns": cpu.get("throttled_usec", 0) * 1000,
        "pids": _number(f"{base}/pids.current"),
        "pids_limit": _number(f"{base}/pids.max"),
        "io": _io_stat(f"{base}/io.stat"),
    }


def _legacy(base: dict[str, str]) -> dict[str, Any]:
    cpu = _keyed(f"{base['cpu']}/cpu.stat")
    return {
        "memory": _number(f"{base['memory']}/memory.usage_in_bytes"),
        "memory_peak": _number(f"{base['memory']}/memory.max_usage_in_bytes"),
        "memory_limit": _number(f"{base['memory']}/memory.limit_in_bytes"),
        "memory_stat": _keyed(f"{base['memory']}/memory.stat"),
        "cpu_ns": _number(f"{base['cpuacct']}/cpuacct.usage"),
        "processors_ns": [int(n) for line in _lines(f"{base['cpuacct']}/cpuacct.usage_percpu") for n in line.split()],
        "user_ns": _number(f"{base['cpuacct']}/cpuacct.usage_user"),
        "system_ns": _number(f"{base['cpuacct']}/cpuacct.usage_sys"),
        "periods": cpu.get("nr_periods", 0),
        "throttled_periods": cpu.get("nr_throttled", 0),
        "throttled_ns": cpu.get("throttled_time", 0),
        "pids": _number(f"{base['pids']}/pids.current"),
        "pids_limit": _number(f"{base['pids']}/pids.max"),
        "io": _throttle_stat(f"{base['blkio']}/blkio.throttle"),
    }


def oom_kills(cgroups: Cgroups, path: str) -> int:
    """Return how many processes of cgroup `path` the OOM killer has killed."""
    directories = cgroups.directories(path)
    if cgroups.is_unified:
        return _keyed(f"{directories.get('unified', '')}/memory.events").get("oom_kill", 0)
    return _keyed(f"{directories.get('memory', '')}/memory.oom_control").get("oom_kill", 0)


def _io_stat(file: str) -> list[list[Any]]:
    """Parse version 2's io.stat, with a line for each device: "8:0 rbytes=1 wbytes=2 rios=3 wios=4 …"."""
    found = []
    for line in _lines(file):
        device, *pairs = line.split()
        counts = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        for operation, letter in (("read", "r"), ("write", "w")):
            if f"{letter}bytes" in counts:
                found.append([*_numbers(device), operation, int(counts[f"{letter}bytes"]), int(counts[f"{letter}ios"])])
    return found


def _throttle_stat(prefix: str) -> list[list[Any]]:
    """Parse version 1's io_service_bytes and io_serviced: lines like "8:0 Read 4096", and a total."""
    requests = dict(line.rsplit(" ", 1) for line in _lines(f"{prefix}.io_serviced_recursive"))
    found = []
    for line in _lines(f"{prefix}.io_service_bytes_recursive"):
        key, _, count = line.rpartition(" ")
        device, _, operation = key.partition(" ")
        if operation in ("Read", "Write"):
            found.append([*_numbers(device), operation.lower(), int(count), int(requests.get(key, 0))])
    return found


def _numbers(device: str) -> list[int]:
    return [int(number) for number in device.split(":")]


def _number(path: str) -> int:
    """Return the number in file `path`; 0 if it is "max" or the file does not exist."""
    try:
        with open(path) as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def _keyed(path: str) -> dict[str, int]:
    """Parse a flat keyed cgroup file."""
    return {key: int(value) for key, value in (line.split() for line in _lines(path))}


def _lines(path: str) -> list[str]:
    try:
        with open(path) as file:
            return file.read().splitlines()
    except OSError:
        return []
