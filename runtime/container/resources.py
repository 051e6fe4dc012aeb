"""Resource limits: checks a HostConfig, and translates it to the OCI document's `linux.resources`.

Pure, except that devices are looked up with stat(2).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Mapping
from typing import Any, cast

from runtime.bodies import HostConfig
from runtime.container.devices import kind_of, nodes
from runtime.errors import BadRequestError
from runtime.oci import defaults
from runtime.oci.limits import CPU_PERIOD_US
from runtime.oci.types import OciDeviceRule, OciResources

MIN_MEMORY_BYTES = 6 << 20
NANO = 1_000_000_000
MIN_NANO_CPUS = NANO // 100
MAX_PROCESSES = 4 << 20
"""The kernel's PID_MAX_LIMIT, and the highest value that pids.max accepts."""
_NUMBER = re.compile(r"[0-9]{1,4}")
DEVICE_RULE = re.compile(r"([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})")

FEATURES: Mapping[str, tuple[str, ...]] = {
    "memory": ("memory.limit_in_bytes", "memory.max"),
    "swap": ("memory.memsw.limit_in_bytes", "memory.swap.max"),
    "reservation": ("memory.soft_limit_in_bytes", "memory.low"),
    "swappiness": ("memory.swappiness",),
    "oom_kill_disable": ("memory.oom_control",),
    "pids": ("pids.max",),
    "cpu_shares": ("cpu.shares", "cpu.weight"),
    "cpu_quota": ("cpu.cfs_quota_us", "cpu.max"),
    "cpu_realtime": ("cpu.rt_runtime_us",),
    "cpuset": ("cpuset.cpus",),
    "io_weight": ("blkio.weight", "blkio.bfq.weight", "io.weight", "io.bfq.weight"),
    "io_weight_device": ("blkio.weight_device", "io.weight"),
    "io_throttle": ("blkio.throttle.read_bps_device", "io.max"),
}
"""Feature → cgroup files of version 1 and 2; a machine has the feature if its cgroups have one of the files.

The bfq scheduler's weight of a device is not among them: it can be set only while that device uses the scheduler.
"""

NO_KERNEL = "Your kernel does not support "
NO_CGROUP = " or the cgroup is not mounted. "
DISCARDED: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("reservation", ("MemoryReservation",), f"memory soft limit capabilities{NO_CGROUP}Limitation discarded."),
    ("swappiness", ("MemorySwappiness",), f"memory swappiness capabilities{NO_CGROUP}Memory swappiness discarded."),
    ("oom_kill_disable", ("OomKillDisable",), "OomKillDisable. OomKillDisable discarded."),
    ("pids", ("PidsLimit",), f"PIDs limit capabilities{NO_CGROUP}PIDs limit discarded."),
    ("cpu_shares", ("CpuShares",), f"CPU shares{NO_CGROUP}Shares discarded."),
    ("cpu_quota", ("CpuPeriod", "CpuQuota"), "CPU CFS scheduler. CPU period/quota discarded."),
    ("cpuset", ("CpusetCpus", "CpusetMems"), f"cpuset{NO_CGROUP}Cpuset discarded."),
    ("io_weight", ("BlkioWeight",), f"Block I/O weight{NO_CGROUP}Weight discarded."),
    ("io_weight_device", ("BlkioWeightDevice",), f"Block I/O weight_device{NO_CGROUP}Weight-device discarded."),
    ("io_throttle", ("BlkioDeviceReadBps",), f"BPS Block I/O read limit{NO_CGROUP}Block I/O BPS read limit discarded."),
    ("io_throttle", ("BlkioDeviceWriteBps",),
     f"BPS Block I/O write limit{NO_CGROUP}Block I/O BPS write limit discarded."),
    ("io_throttle", ("BlkioDeviceReadIOps",), f"IOPS Block read limit{NO_CGROUP}Block I/O IOPS read limit discarded."),
    ("io_throttle", ("BlkioDeviceWriteIOps",),
     f"IOPS Block write limit{NO_CGROUP}Block I/O IOPS write limit discarded."),
)  # fmt: skip
"""(feature, fields of HostConfig that need it, Docker's warning when they are discarded)."""

THROTTLES = {
    "BlkioDeviceReadBps": "throttleReadBpsDevice",
    "BlkioDeviceWriteBps": "throttleWriteBpsDevice",
    "BlkioDeviceReadIOps": "throttleReadIOPSDevice",
    "BlkioDeviceWriteIOps": "throttleWriteIOPSDevice",
}


def features(files: Collection[str]) -> frozenset[str]:
    """Return the names in FEATURES that a machine supports whose cgroups have `files`."""
    return frozenset(feature for feature, shown_by in FEATURES.items() if any(file in files for file in shown_by))


def settle(
    host: HostConfig, offered: Collection[str], processors: Collection[int], memory_nodes: Collection[int] = (0,)
) -> tuple[HostConfig, list[str]]:
    """Return HostConfig `host` without the limits that the machine does not support, and a warning for each.

    `offered` are the machine's `features`; `processors` and `memory_nodes` the IDs of those it has. Raises
    BadRequestError on an invalid limit.
    """
    kept = host.copy()
    warnings = []
    _check_memory(kept)
    _check_cpu(kept, offered, processors)
    _check_available(kept.get("CpusetCpus") or "", processors, "cpus", "CPUs")
    _check_available(kept.get("CpusetMems") or "", memory_nodes, "mems", "memory nodes")
    _check_devices(kept)
    weight = kept.get("BlkioWeight") or 0
    if weight and not 10 <= weight <= 1000:
        raise BadRequestError("Range of blkio weight is from 10 to 1000")
    if (kept.get("Memory") or 0) > 0 and "memory" not in offered:
        warnings.append(f"{NO_KERNEL}memory limit capabilities{NO_CGROUP}Limitation discarded.")
        kept["Memory"], kept["MemorySwap"] = 0, -1
    if (kept.get("Memory") or 0) > 0 and kept.get("MemorySwap") != -1 and "swap" not in offered:
        warnings.append(f"{NO_KERNEL}swap limit capabilities{NO_CGROUP}Memory limited without swap.")
        kept["MemorySwap"] = -1
    for feature, names, loss in DISCARDED:
        if feature not in offered and any(_is_asked(name, kept.get(name)) for name in names):
            warnings.append(NO_KERNEL + loss)
            for name in names:
                cast(dict[str, Any], kept).pop(name, None)
    if kept.get("OomKillDisable") and not kept.get("Memory"):
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system "
            "running out of resources."
        )
    return kept, warnings


def without_root(host: HostConfig, offered: Collection[str]) -> tuple[HostConfig, list[str]]:
    """Return HostConfig `host` without settings that need root, and a warning for each. Called before `settle`.

    `offered` are the `features` that were delegated to the engine's user.
    """
    kept = host.copy()
    warnings = []
    if kept.get("NanoCpus") and "cpu_quota" not in offered:
        warnings.append(f"{NO_KERNEL}CPU limits{NO_CGROUP}Limitation discarded.")
        kept["NanoCpus"] = 0
    if (kept.get("OomScoreAdj") or 0) < 0:
        warnings.append("A negative OomScoreAdj needs root. OomScoreAdj discarded.")
        kept["OomScoreAdj"] = 0
    return kept, warnings


def _is_asked(name: str, value: Any) -> bool:
    if name == "MemorySwappiness":  # as in Docker -1 means not set, and 0 is a value
        return value is not None and value >= 0
    return bool(value) and (name != "PidsLimit" or value > 0)


def _check_memory(host: HostConfig) -> None:
    memory, swap = host.get("Memory") or 0, host.get("MemorySwap") or 0
    reservation, swappiness = host.get("MemoryReservation") or 0, host.get("MemorySwappiness")
    if memory and memory < MIN_MEMORY_BYTES:
        raise BadRequestError("Minimum memory limit allowed is 6MB")
    if 0 < swap < memory:
        raise BadRequestError("Minimum memoryswap limit should be larger than memory limit, see usage")
    if swap > 0 and not memory:
        raise BadRequestError("You should always set the Memory limit when using Memoryswap limit, see usage")
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise BadRequestError(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    if reservation < 0:
        raise BadRequestError(f"invalid memory reservation: {reservation}")
    if 0 < reservation < MIN_MEMORY_BYTES:
        raise BadRequestError("Minimum memory reservation allowed is 6MB")
    if 0 < memory < reservation:
        raise BadRequestError("Minimum memory limit can not be less than memory reservation limit, see usage")


def _check_cpu(host: HostConfig, offered: Collection[str], processors: Collection[int]) -> None:
    nano, period, quota = host.get("NanoCpus") or 0, host.get("CpuPeriod") or 0, host.get("CpuQuota") or 0
    for other, name in ((period, "Period"), (quota, "Quota")):
        if nano and other > 0:
            raise BadRequestError(f"Conflicting options: Nano CPUs and CPU {name} cannot both be set")
    if nano and "cpu_quota" not in offered:
        raise BadRequestError(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted"
        )
    if nano and not MIN_NANO_CPUS <= nano <= len(processors) * NANO:
        count = len(processors)
        raise BadRequestError(
            f"range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available",
            "ask for fewer (`cpus`, `deploy.resources.limits.cpus`)",
        )
    if period and not 1000 <= period <= 1_000_000:
        raise BadRequestError("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < quota < 1000:
        raise BadRequestError("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if (host.get("CpuShares") or 0) < 0:
        raise BadRequestError(f"invalid CPU shares ({host['CpuShares']}): value must be a positive integer")
    # as in Docker: what needs it would not work without
    if (host.get("CpuRealtimePeriod") or host.get("CpuRealtimeRuntime")) and "cpu_realtime" not in offered:
        raise BadRequestError(
            f"{NO_KERNEL}CPU real-time scheduler", "leave `cpu_rt_period` and `cpu_rt_runtime` (--cpu-rt-…) out"
        )
    realtime = {"period": host.get("CpuRealtimePeriod"), "runtime": host.get("CpuRealtimeRuntime")}
    for called, value in realtime.items():
        if (value or 0) < 0:
            raise BadRequestError(f"cpu real-time {called} can not be negative")
    if (host.get("CpuRealtimeRuntime") or 0) > (host.get("CpuRealtimePeriod") or 1_000_000):
        raise BadRequestError("cpu real-time runtime cannot be higher than cpu real-time period")


def _check_available(asked: str, present: Collection[int], kind: str, called: str) -> None:
    if not parse_list(asked, kind) <= set(present):
        available = _shown_list(present)
        raise BadRequestError(f"Requested {called} are not available - requested {asked}, available: {available}")


def _check_devices(host: Mapping[str, Any]) -> None:
    """Check that each limit of a block device has a path and a value."""
    for name, value in (("BlkioWeightDevice", "Weight"), *((name, "Rate") for name in THROTTLES)):
        for entry in host.get(name) or ():
            if not entry.get("Path") or entry.get(value) is None or entry[value] < 0:
                raise BadRequestError(f"invalid {name}: it needs a Path and a {value} that is not negative")


def _shown_list(numbers: Collection[int]) -> str:
    """Return numbers as the kernel shows them, "0-2,5" (cpuset(7), "List format")."""
    rows: list[list[int]] = []
    for number in sorted(numbers):
        if rows and rows[-1][-1] == number - 1:
            rows[-1].append(number)
        else:
            rows.append([number])
    return ",".join(str(row[0]) if len(row) == 1 else f"{row[0]}-{row[-1]}" for row in rows)


def parse_list(text: str, kind: str = "cpus") -> frozenset[int]:
    """Parse a list such as "0-2,5" (cpuset(7), "List format"). Raises BadRequestError."""
    found: set[int] = set()
    for part in filter(None, text.removesuffix("\n").split(",")):
        first, _, last = part.partition("-")
        if not _NUMBER.fullmatch(first) or not _NUMBER.fullmatch(last or first) or int(last or first) < int(first):
            raise BadRequestError(f"Invalid value {text} for cpuset {kind}", 'write numbers and ranges, as in "0-2,5"')
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def resources(host: HostConfig, privileged: bool = False) -> OciResources:
    """Return `linux.resources` for HostConfig's limits, with `privileged` without device rules.

    Raises BadRequestError if a device does not exist.
    """
    memory = _some(
        limit=host.get("Memory"),
        # as in Docker, swap is limited to the same amount as memory if not set
        swap=(host.get("MemorySwap") or host["Memory"] * 2) if host.get("Memory") else None,
        reservation=host.get("MemoryReservation"),
        disableOOMKiller=bool(host.get("OomKillDisable")),
    )
    if host.get("MemorySwappiness") is not None and host["MemorySwappiness"] >= 0:
        memory["swappiness"] = host["MemorySwappiness"]
    cpu = _some(
        shares=host.get("CpuShares"),
        quota=host.get("CpuQuota"),
        period=host.get("CpuPeriod"),
        realtimeRuntime=host.get("CpuRealtimeRuntime"),
        realtimePeriod=host.get("CpuRealtimePeriod"),
        cpus=host.get("CpusetCpus"),
        mems=host.get("CpusetMems"),
    )
    if host.get("NanoCpus"):
        cpu["period"], cpu["quota"] = CPU_PERIOD_US, host["NanoCpus"] * CPU_PERIOD_US // NANO
    by_name: Mapping[str, Any] = host
    io = _some(
        weight=host.get("BlkioWeight"),
        weightDevice=[
            {**_block_device(entry), "weight": entry["Weight"]} for entry in host.get("BlkioWeightDevice") or ()
        ],
        **{
            ours: [{**_block_device(entry), "rate": entry["Rate"]} for entry in by_name.get(name) or ()]
            for name, ours in THROTTLES.items()
        },
    )
    pids = {"limit": min(host["PidsLimit"], MAX_PROCESSES)} if host.get("PidsLimit") else {}
    found = _some(memory=memory, cpu=cpu, blockIO=io, pids=pids, devices=[] if privileged else _device_rules(host))
    return cast(OciResources, found)


def _some(**settings: Any) -> dict[str, Any]:
    """Return the settings that are not empty."""
    return {name: value for name, value in settings.items() if value}


def _block_device(entry: Mapping[str, Any]) -> dict[str, int]:
    kind, numbers = _numbers(entry["Path"])
    if kind != "b":
        raise BadRequestError(f"{entry['Path']} is not a block device, as a limit on block I/O needs")
    return numbers


def _device_rules(host: HostConfig) -> list[OciDeviceRule]:
    rules = [rule.copy() for rule in defaults.DEVICE_RULES]
    for wanted in host.get("Devices") or ():
        access = wanted.get("CgroupPermissions") or "rwm"
        rules += [{"allow": True, **kind_of(about), "access": access} for _, about in nodes(wanted["PathOnHost"], "")]
    for text in host.get("DeviceCgroupRules") or ():
        parts = DEVICE_RULE.fullmatch(text)
        if parts is None:
            raise BadRequestError(
                f"invalid device cgroup rule format: '{text}'", 'write it as "c 13:* rwm": type, numbers, access'
            )
        kind, major, minor, access = parts.groups()
        first, second = (-1 if one == "*" else int(one) for one in (major, minor))
        rules.append({"allow": True, "type": kind, "major": first, "minor": second, "access": access})
    return rules


def _numbers(path: str) -> tuple[str, dict[str, int]]:
    """Return type ("b" or "c"), major and minor of the device at `path` on the host."""
    try:
        about = os.stat(path)
    except OSError as error:
        raise BadRequestError(f"stat {path}: {os.strerror(error.errno or 0).lower()}") from error
    if not stat.S_ISBLK(about.st_mode) and not stat.S_ISCHR(about.st_mode):
        raise BadRequestError(f"error gathering device information: {path!r} is not a device node")
    numbers = {"major": os.major(about.st_rdev), "minor": os.minor(about.st_rdev)}
    return "b" if stat.S_ISBLK(about.st_mode) else "c", numbers
