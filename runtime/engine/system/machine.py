"""The machine's properties and supported limits, with Docker's warnings (Docker Engine API, "SystemInfo")."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from runtime.linux import mountinfo, userns
from runtime.oci.cgroup import Cgroups

LIMITS = {
    "MemoryLimit": ("memory", "No memory limit support"),
    "SwapLimit": ("swap", "No swap limit support"),
    "CpuCfsPeriod": ("cpu_quota", "No cpu cfs period support"),
    "CpuCfsQuota": ("cpu_quota", "No cpu cfs quota support"),
    "CPUShares": ("cpu_shares", "No cpu shares support"),
    "CPUSet": ("cpuset", "No cpuset support"),
    "PidsLimit": ("pids", "No pids limit support"),
    "OomKillDisable": ("oom_kill_disable", "No oom kill disable support"),
}
"""Field of SystemInfo → (feature in `runtime.container.resources.FEATURES`, warning if it is missing)."""

BLOCK_IO = {
    "1": {
        "io_weight": ("No blkio weight support",),
        "io_weight_device": ("No blkio weight_device support",),
        "io_throttle": tuple(
            f"No blkio throttle.{name}_device support" for name in ("read_bps", "write_bps", "read_iops", "write_iops")
        ),
    },
    "2": {
        "io_weight": ("No io.weight support",),
        "io_weight_device": ("No io.weight (per device) support",),
        "io_throttle": tuple(f"No io.max ({name}) support" for name in ("rbps", "wbps", "riops", "wiops")),
    },
}
"""cgroup version → feature → warnings if it is missing."""


def limits(features: Collection[str], cgroup_version: str) -> tuple[dict[str, bool], list[str]]:
    """Return (field of SystemInfo → whether supported, Docker's warnings) for a machine with these features."""
    offered = {name: feature in features for name, (feature, _) in LIMITS.items()}
    lacking = [
        warning
        for name, (_, warning) in LIMITS.items()
        # version 2 can't have it, so there is no warning
        if not offered[name] and (name != "OomKillDisable" or cgroup_version == "1")
    ]
    for feature, warnings in BLOCK_IO[cgroup_version].items():
        lacking += warnings if feature not in features else ()
    return offered, [f"WARNING: {warning}" for warning in lacking]


def cgroup_version() -> str:
    """Return the cgroup version of the controllers, "1" or "2"."""
    return "2" if Cgroups().is_unified else "1"


def forwards_ipv4() -> bool:
    """Whether the machine forwards IPv4; without root the bridges' own network namespace always does."""
    if not userns.is_initial():
        return True
    try:
        return Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() == "1"
    except OSError:
        return False


def release() -> dict[str, str]:
    """Return os-release(5) of the machine."""
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {key: value.strip("\"'") for key, _, value in pairs}


def filesystem_of(path: Path) -> str:
    """Return the type of the filesystem of `path`, as in mount(8); "unknown" if it is not found."""
    number = os.stat(path).st_dev
    wanted = f"{os.major(number)}:{os.minor(number)}"
    return next((mount.kind for mount in mountinfo.own_mounts() if mount.device == wanted), "unknown")


def processor() -> dict[str, Any]:
    """Return the machine's CPUs, memory, kernel and name."""
    uname = os.uname()
    return {
        "KernelVersion": uname.release,
        "OSType": "linux",
        "Architecture": uname.machine,
        "NCPU": os.cpu_count() or 1,
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "Name": uname.nodename,
    }
