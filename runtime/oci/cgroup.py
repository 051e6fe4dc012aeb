"""Control groups of a container: version 1's hierarchy a controller, or version 2's one tree."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

from runtime.hints import Any

ROOT = "/sys/fs/cgroup"
CONTROLLERS = ("memory", "cpu", "cpuacct", "cpuset", "pids", "devices", "freezer", "blkio")


class Cgroups:
    """The hierarchies of this machine: where each controller is mounted."""

    def __init__(self) -> None:
        self.v1: dict[str, str] = {}
        self.v2: str | None = None
        with open("/proc/self/mounts") as mounts:
            for line in mounts:
                _device, point, kind, options = line.split()[:4]
                if kind == "cgroup":
                    for option in options.split(","):
                        if option in CONTROLLERS:
                            self.v1.setdefault(option, point)
                elif kind == "cgroup2" and self.v2 is None:
                    self.v2 = point
        if not self.v1 and self.v2 is None:
            raise OSError(2, "no cgroup hierarchy is mounted")

    @property
    def is_unified(self) -> bool:
        """Whether version 2 alone carries the controllers."""
        return not self.v1

    def directories(self, path: str) -> dict[str, str]:
        """Return the directories of cgroup `path`, by controller; version 2's is "unified"."""
        if self.is_unified:
            return {"unified": f"{self.v2}{path}"}
        return {controller: f"{point}{path}" for controller, point in self.v1.items()}

    def create(self, path: str, resources: Mapping[str, Any]) -> None:
        """Make cgroup `path` with the limits of the OCI document's `linux.resources`."""
        for controller, directory in self.directories(path).items():
            os.makedirs(directory, exist_ok=True)
            if controller == "unified":
                self._delegate(path)
            elif controller == "cpuset":
                self._inherit_cpuset(path)
        self.update(path, resources)

    def _delegate(self, path: str) -> None:
        """Enable the controllers in every ancestor (version 2: "Top-down Constraint")."""
        directory = str(self.v2)
        for part in path.strip("/").split("/"):
            with open(f"{directory}/cgroup.controllers") as file:
                offered = file.read().split()
            for controller in offered:
                with contextlib.suppress(OSError):
                    _write(f"{directory}/cgroup.subtree_control", f"+{controller}")
            directory = f"{directory}/{part}"

    def _inherit_cpuset(self, path: str) -> None:
        """Give each level its parent's CPUs and memory nodes: version 1 makes them empty."""
        directory = self.v1["cpuset"]
        for part in path.strip("/").split("/"):
            for name in ("cpuset.cpus", "cpuset.mems"):
                with open(f"{directory}/{name}") as file:
                    inherited = file.read().strip()
                with open(f"{directory}/{part}/{name}") as file:
                    if not file.read().strip():
                        _write(f"{directory}/{part}/{name}", inherited)
            directory = f"{directory}/{part}"

    def update(self, path: str, resources: Mapping[str, Any]) -> None:
        """Set the limits that `resources` names."""
        directories = self.directories(path)
        settings = _unified(resources) if self.is_unified else _legacy(resources)
        for controller, name, value in settings:
            directory = directories.get("unified" if self.is_unified else controller)
            if directory is None:
                raise OSError(2, f"this machine has no {controller} cgroup controller, which {name} needs")
            _write(f"{directory}/{name}", value)

    def enter(self, path: str) -> None:
        """Move the calling process into cgroup `path`."""
        for directory in self.directories(path).values():
            _write(f"{directory}/cgroup.procs", "0")

    def descriptor(self, path: str) -> int:
        """Return a descriptor of version 2's cgroup `path`, for a child to be born in it; -1 with version 1."""
        return os.open(f"{self.v2}{path}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if self.is_unified else -1

    def rename(self, path: str, wanted: str) -> None:
        """Give cgroup `path` the name `wanted`, beside it (version 1 alone has this)."""
        others = self.directories(wanted)
        for controller, directory in self.directories(path).items():
            os.rename(directory, others[controller])

    def freeze(self, path: str, frozen: bool) -> None:
        """Stop, or go on scheduling, every process of cgroup `path`; returns when the kernel has done so."""
        directories = self.directories(path)
        if self.is_unified:
            _write(f"{directories['unified']}/cgroup.freeze", int(frozen))
        else:
            _write(f"{directories['freezer']}/freezer.state", "FROZEN" if frozen else "THAWED")

    def stats(self, path: str) -> dict[str, int]:
        """Return memory in bytes, CPU time in nanoseconds and the number of processes of cgroup `path`."""
        directories = self.directories(path)
        if self.is_unified:
            base = directories["unified"]
            cpu = _keyed(f"{base}/cpu.stat")
            return {
                "memory": _number_in(f"{base}/memory.current"),
                "memory_limit": _number_in(f"{base}/memory.max"),
                "cache": _keyed(f"{base}/memory.stat").get("inactive_file", 0),
                "cpu_ns": cpu.get("usage_usec", 0) * 1000,
                "user_ns": cpu.get("user_usec", 0) * 1000,
                "system_ns": cpu.get("system_usec", 0) * 1000,
                "pids": _number_in(f"{base}/pids.current"),
            }
        memory, cpuacct = directories.get("memory", ""), directories.get("cpuacct", "")
        return {
            "memory": _number_in(f"{memory}/memory.usage_in_bytes"),
            "memory_limit": _number_in(f"{memory}/memory.limit_in_bytes"),
            "cache": _keyed(f"{memory}/memory.stat").get("total_inactive_file", 0),
            "cpu_ns": _number_in(f"{cpuacct}/cpuacct.usage"),
            "user_ns": _number_in(f"{cpuacct}/cpuacct.usage_user"),
            "system_ns": _number_in(f"{cpuacct}/cpuacct.usage_sys"),
            "pids": _number_in(f"{directories.get('pids', '')}/pids.current"),
        }

    def oom_kills(self, path: str) -> int:
        """Return how many processes of cgroup `path` the kernel killed for want of memory."""
        directories = self.directories(path)
        file = (
            f"{directories['unified']}/memory.events"
            if self.is_unified
            else f"{directories.get('memory', '')}/memory.oom_control"
        )
        try:
            with open(file) as lines:
                return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
        except OSError:
            return 0

    def remove(self, path: str) -> None:
        """Remove cgroup `path` and, when it was the last, its parent."""
        for directory in self.directories(path).values():
            for one in (directory, os.path.dirname(directory)):
                with contextlib.suppress(OSError):
                    os.rmdir(one)


def _write(path: str, value: object) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, str(value).encode())
    finally:
        os.close(descriptor)


def _number_in(path: str) -> int:
    """Return the number that file `path` holds; 0 where there is none ("max", no controller)."""
    try:
        with open(path) as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def _keyed(path: str) -> dict[str, int]:
    """Return a flat keyed cgroup file as a dict."""
    try:
        with open(path) as file:
            return {key: int(value) for key, value in (line.split() for line in file)}
    except (OSError, ValueError):
        return {}


def _legacy(resources: Mapping[str, Any]) -> list[tuple[str, str, object]]:
    memory, cpu = resources.get("memory") or {}, resources.get("cpu") or {}
    found: list[tuple[str, str, object]] = []

    def add(controller: str, name: str, value: object) -> None:
        if value is not None:
            found.append((controller, name, value))

    add("memory", "memory.limit_in_bytes", memory.get("limit"))
    add("memory", "memory.memsw.limit_in_bytes", memory.get("swap"))
    add("memory", "memory.soft_limit_in_bytes", memory.get("reservation"))
    add("memory", "memory.swappiness", memory.get("swappiness"))
    if memory.get("disableOOMKiller"):
        add("memory", "memory.oom_control", 1)
    add("cpu", "cpu.shares", cpu.get("shares") or None)
    add("cpu", "cpu.cfs_period_us", cpu.get("period") or None)
    add("cpu", "cpu.cfs_quota_us", cpu.get("quota") or None)
    add("cpuset", "cpuset.cpus", cpu.get("cpus") or None)
    add("cpuset", "cpuset.mems", cpu.get("mems") or None)
    limit = (resources.get("pids") or {}).get("limit")
    if limit:
        add("pids", "pids.max", limit if limit > 0 else "max")
    for rule in resources.get("devices") or ():
        text = f"{rule.get('type', 'a')} {_number(rule, 'major')}:{_number(rule, 'minor')} {rule.get('access', 'rwm')}"
        add("devices", "devices.allow" if rule["allow"] else "devices.deny", text)
    return found


def _number(rule: Mapping[str, Any], key: str) -> object:
    value = rule.get(key)
    return "*" if value is None or value < 0 else value


def _unified(resources: Mapping[str, Any]) -> list[tuple[str, str, object]]:
    memory, cpu = resources.get("memory") or {}, resources.get("cpu") or {}
    found: list[tuple[str, str, object]] = []
    limit, swap = memory.get("limit"), memory.get("swap")
    if limit:
        found.append(("memory", "memory.max", limit if limit > 0 else "max"))
    if swap:
        # the document counts memory and swap together, version 2 swap alone
        found.append(("memory", "memory.swap.max", "max" if swap < 0 else max(0, swap - (limit or 0))))
    if memory.get("reservation"):
        found.append(("memory", "memory.low", memory["reservation"]))
    if cpu.get("shares"):
        found.append(("cpu", "cpu.weight", 1 + ((cpu["shares"] - 2) * 9999) // 262142))
    if cpu.get("quota") or cpu.get("period"):
        quota = cpu.get("quota") or -1
        found.append(("cpu", "cpu.max", f"{quota if quota > 0 else 'max'} {cpu.get('period') or 100000}"))
    if cpu.get("cpus"):
        found.append(("cpuset", "cpuset.cpus", cpu["cpus"]))
    if cpu.get("mems"):
        found.append(("cpuset", "cpuset.mems", cpu["mems"]))
    pids = (resources.get("pids") or {}).get("limit")
    if pids:
        found.append(("pids", "pids.max", pids if pids > 0 else "max"))
    return found
