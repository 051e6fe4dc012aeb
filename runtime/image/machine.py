"""What this machine runs: its platform, the level of its processor, and the other architectures that it emulates."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import cache
from pathlib import Path

from runtime.image.manifest import LEVEL, Platform

BINFMT = Path("/proc/sys/fs/binfmt_misc")
CPUINFO = Path("/proc/cpuinfo")

# x86-64 psABI, "Micro-Architecture Levels", by the names that /proc/cpuinfo has
_LEVELS = (
    (2, {"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"}),
    (3, {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"}),
    (4, {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
)
_EMULATORS = {"386": "i386", "amd64": "x86_64", "arm64": "aarch64", "mips64le": "mips64el", "loong64": "loongarch64"}
"""What QEMU calls an architecture, where that is not OCI's name."""


def level(flags: Collection[str]) -> int:
    """Return the level (1 to 4) of an x86-64 processor with these `flags`."""
    found = 1
    for number, wanted in _LEVELS:
        if not wanted <= set(flags):
            break
        found = number
    return found


@cache
def best() -> Platform:
    """Return this machine's platform with the highest variant that runs here, for the choice among several."""
    host = Platform.host()
    if host.architecture != "amd64":
        return host
    lines = CPUINFO.read_text().splitlines()
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return replace(host, variant=f"v{found}") if (found := level(flags)) > LEVEL else host


def emulator(architecture: str, binfmt: Path = BINFMT) -> str | None:
    """Return the name of the handler that runs programs for `architecture` here, None where there is none.

    It has to hold its interpreter open (flag F): in a container's root there is none to be found. Source: kernel
    Documentation/admin-guide/binfmt-misc.rst.
    """
    name = f"qemu-{_EMULATORS.get(architecture, architecture)}"
    try:
        lines = (binfmt / name).read_text().splitlines()
    except OSError:
        return None
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags:")), "")
    return name if lines[:1] == ["enabled"] and "F" in flags else None


def why_not(platform: Platform, binfmt: Path = BINFMT) -> str | None:
    """Return what to do so that programs for `platform` run here, None where they do."""
    if platform.os != "linux":
        return f"build on a machine of {platform.os}"
    if not platform.architecture or platform.rank(best()) is not None or emulator(platform.architecture, binfmt):
        return None
    if platform.architecture == best().architecture:
        return f"this machine runs {best()}: build for that, or on another machine"
    return (
        "have programs for it emulated: `apt-get install qemu-user-static binfmt-support`, "
        f"and look that {binfmt}/qemu-{_EMULATORS.get(platform.architecture, platform.architecture)} has the flag F"
    )
