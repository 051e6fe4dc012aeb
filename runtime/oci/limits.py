"""Translates an OCI document's `linux.resources` to cgroup files and the values to write. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from runtime.hints import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.oci.types import OciCpu, OciMemory, OciResources

CPU_PERIOD_US = 100_000
MIN_SHARES, MAX_SHARES = 2, 1 << 18
IO_THROTTLES = (
    ("throttleReadBpsDevice", "read_bps", "rbps"), ("throttleWriteBpsDevice", "write_bps", "wbps"),
    ("throttleReadIOPSDevice", "read_iops", "riops"), ("throttleWriteIOPSDevice", "write_iops", "wiops"),
)  # fmt: skip
"""A limit on a block device: its key in the document, version 1's file name, version 2's key in io.max."""


def legacy(resources: OciResources, has: Callable[[str], bool]) -> list[tuple[str, str, object]]:
    """Return version 1's settings in order: (controller, file, value). `has(file)`: whether the cgroup has that file."""
    memory, cpu, io = resources.get("memory") or {}, resources.get("cpu") or {}, resources.get("blockIO") or {}
    found: list[tuple[str, str, object]] = [
        ("memory", "memory.limit_in_bytes", memory.get("limit")),
        ("memory", "memory.memsw.limit_in_bytes", memory.get("swap")),
        ("memory", "memory.soft_limit_in_bytes", memory.get("reservation")),
        ("memory", "memory.swappiness", memory.get("swappiness")),
        ("memory", "memory.kmem.tcp.limit_in_bytes", memory.get("kernelTCP") or None),
        ("memory", "memory.oom_control", 1 if memory.get("disableOOMKiller") else None),
        ("cpu", "cpu.shares", cpu.get("shares") or None),
        ("cpu", "cpu.cfs_period_us", cpu.get("period") or None),
        ("cpu", "cpu.cfs_quota_us", cpu.get("quota") or None),
        ("cpu", "cpu.cfs_burst_us", cpu.get("burst")),
        ("cpu", "cpu.idle", cpu.get("idle")),
        ("cpu", "cpu.rt_period_us", cpu.get("realtimePeriod") or None),
        ("cpu", "cpu.rt_runtime_us", cpu.get("realtimeRuntime") or None),
        ("cpuset", "cpuset.cpus", cpu.get("cpus") or None),
        ("cpuset", "cpuset.mems", cpu.get("mems") or None),
        ("pids", "pids.max", _pids(resources)),
        ("net_cls", "net_cls.classid", (resources.get("network") or {}).get("classID")),
        *_rdma(resources),
    ]
    for entry in (resources.get("network") or {}).get("priorities") or ():
        found.append(("net_prio", "net_prio.ifpriomap", f"{entry['name']} {entry.get('priority', 0)}"))
    for entry in resources.get("hugepageLimits") or ():
        # reservations are limited first, then usage (cgroup-v1/hugetlb.rst); older kernels limit only usage
        for kind in ("rsvd.limit_in_bytes", "limit_in_bytes"):
            name = f"hugetlb.{entry['pageSize']}.{kind}"
            if kind == "limit_in_bytes" or has(name):
                found.append(("hugetlb", name, entry.get("limit", 0)))
    # weights belong to the I/O scheduler: files of BFQ have its name, those of CFQ (before Linux 5.0) have not
    scheduler = "blkio.bfq" if has("blkio.bfq.weight") else "blkio"
    found.append(("blkio", f"{scheduler}.weight", io.get("weight") or None))
    found.append(("blkio", f"{scheduler}.leaf_weight", io.get("leafWeight") or None))
    for entry in io.get("weightDevice") or ():
        for key, name in (("weight", "weight_device"), ("leafWeight", "leaf_weight_device")):
            if entry.get(key):
                found.append(("blkio", f"{scheduler}.{name}", f"{_device(entry)} {entry[key]}"))
    for kind, name, _ in IO_THROTTLES:
        for entry in io.get(kind) or ():
            found.append(("blkio", f"blkio.throttle.{name}_device", f"{_device(entry)} {entry['rate']}"))
    for rule in resources.get("devices") or ():
        text = f"{rule.get('type') or 'a'} {_number(rule.get('major'))}:{_number(rule.get('minor'))}"
        file = "devices.allow" if rule["allow"] else "devices.deny"
        found.append(("devices", file, f"{text} {rule.get('access') or 'rwm'}"))
    return [setting for setting in found if setting[2] is not None]


def unified(resources: OciResources, has: Callable[[str], bool]) -> list[tuple[str, str, object]]:
    """Return version 2's settings like `legacy`, without the device rules, for which it has no file."""
    memory, cpu, io = resources.get("memory") or {}, resources.get("cpu") or {}, resources.get("blockIO") or {}
    found: list[tuple[str, str, object]] = [
        ("memory", "memory.max", _or_max(memory.get("limit"))),
        ("memory", "memory.swap.max", _swap(memory)),
        ("memory", "memory.low", memory.get("reservation") or None),
        ("cpu", "cpu.weight", cpu_weight(cpu["shares"]) if cpu.get("shares") else None),
        ("cpu", "cpu.max", _cpu_max(cpu)),
        ("cpu", "cpu.max.burst", cpu.get("burst")),
        ("cpu", "cpu.idle", cpu.get("idle")),
        ("cpuset", "cpuset.cpus", cpu.get("cpus") or None),
        ("cpuset", "cpuset.mems", cpu.get("mems") or None),
        ("pids", "pids.max", _pids(resources)),
    ]
    # which applies depends on the device: io.bfq.weight if BFQ schedules it, otherwise the cost model's io.weight
    for file, convert in (("io.bfq.weight", int), ("io.weight", io_weight)):
        if has(file):
            found.append(("io", file, convert(io["weight"]) if io.get("weight") else None))
            for entry in io.get("weightDevice") or ():
                if entry.get("weight"):
                    found.append(("io", file, f"{_device(entry)} {convert(entry['weight'])}"))
    for kind, _, key in IO_THROTTLES:
        for entry in io.get(kind) or ():
            found.append(("io", "io.max", f"{_device(entry)} {key}={entry['rate'] or 'max'}"))
    found += _rdma(resources)
    for entry in resources.get("hugepageLimits") or ():
        for name in (f"hugetlb.{entry['pageSize']}.rsvd.max", f"hugetlb.{entry['pageSize']}.max"):
            if ".rsvd." not in name or has(name):
                found.append(("hugetlb", name, entry.get("limit", 0)))
    for name, text in (resources.get("unified") or {}).items():
        # a nested keyed file is written one line at a time (cgroup-v2.rst, "Nested keyed")
        found += [(name.partition(".")[0], name, line) for line in text.splitlines() or [""]]
    return [setting for setting in found if setting[2] is not None]


def cpu_weight(shares: int) -> int:
    """Convert version 1's `shares` to a weight (1 to 10000): minimum, 1024 and maximum become 1, 100 and 10000.

    The same curve as in other OCI runtimes (crun(1), "cgroup v2"; runc since 1.3.2).
    """
    if shares <= MIN_SHARES:
        return 1
    if shares >= MAX_SHARES:
        return 10_000
    power = math.log2(shares)
    return math.ceil(10 ** ((power * power + 125 * power) / 612 - 7 / 34))


def io_weight(weight: int) -> int:
    """Convert a block I/O weight (10 to 1000) to version 2's (1 to 10000)."""
    return 1 + (weight - 10) * 9999 // 990


def _swap(memory: OciMemory) -> object:
    """Return the limit of swap: the document has that of memory and swap together."""
    swap, limit = memory.get("swap"), memory.get("limit") or 0
    if not swap:
        return None
    return "max" if swap < 0 or limit < 0 else max(0, swap - limit)


def _cpu_max(cpu: OciCpu) -> object:
    quota, period = cpu.get("quota"), cpu.get("period")
    if not quota and not period:
        return None
    return f"{quota if quota and quota > 0 else 'max'} {period or CPU_PERIOD_US}"


def _pids(resources: OciResources) -> object:
    return _or_max((resources.get("pids") or {}).get("limit"))


def _or_max(limit: int | None) -> object:
    return (limit if limit > 0 else "max") if limit else None


def _rdma(resources: OciResources) -> list[tuple[str, str, object]]:
    found: list[tuple[str, str, object]] = []
    for device, limits in (resources.get("rdma") or {}).items():
        keys = (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object"))
        words = [f"{name}={limits[key]}" for key, name in keys if limits.get(key) is not None]
        found.append(("rdma", "rdma.max", " ".join([device, *words])))
    return found


def _device(entry: Mapping[str, Any]) -> str:
    return f"{entry['major']}:{entry['minor']}"


def _number(value: int | None) -> object:
    return "*" if value is None or value < 0 else value
