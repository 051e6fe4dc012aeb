"""A virtual machine with Debian's kernel and cgroup version 2 alone, whose files are this machine's, unchanged by it."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.machine_image import initramfs

RESULTS = "/skiff-results"
MEMORY_MIB, PROCESSORS = 2048, 2
PLAIN = "Nehalem"
"""The processor that is emulated: what later ones add (five levels of page tables) makes it slower by half."""


@dataclass(frozen=True)
class Outcome:
    """What came of a command: its exit code (None when it never ended) and what the console showed."""

    exit_code: int | None
    console: str


def is_accelerated() -> bool:
    """Whether the processor can run the machine itself; KVM without that needs a kernel made for it."""
    flags = Path("/proc/cpuinfo").read_text().split()
    return os.access("/dev/kvm", os.R_OK | os.W_OK) and ("vmx" in flags or "svm" in flags)


def why_not() -> str | None:
    """Return why no machine can be made here, None when one can."""
    if shutil.which("qemu-system-x86_64") is None:
        return "no virtual machine: needs Debian's qemu-system-x86"
    if os.uname().machine != "x86_64":
        return f"no virtual machine: the one of the tests is an x86-64, this is {os.uname().machine}"
    return None if kernel() else "no virtual machine: needs a kernel, which `.ci/kernel` provides"


def kernel() -> Path | None:
    """Return the folder with the machine's kernel and modules: what the environment names, else the cache's."""
    cache = Path(os.environ.get("SKIFF_CACHE") or "/var/cache/skiff") / "kernel"
    folder = Path(os.environ.get("SKIFF_TEST_KERNEL") or cache)
    return folder if (folder / "vmlinuz").exists() else None


def run(folder: Path, command: list[str], *, environment: dict[str, str], timeout_s: float) -> Outcome:
    """Boot, run `command` in a copy of this machine's files, and power off.

    `folder` is the one place where the command can leave files: it sees it as `RESULTS`. Its working directory is the
    checkout's. It runs in a cgroup as systemd would give it, /user.slice/user-0.slice/session-1.scope.
    """
    found = kernel()
    assert found is not None
    guest = Path(__file__).with_name("guest.py")
    checkout = str(guest.parents[2])
    kept = sorted({checkout, sys.prefix, sys.base_prefix} - {"/usr"})
    job = {"command": command, "environment": environment, "directory": checkout, "kept": kept}
    (folder / "job.json").write_text(json.dumps(job))
    memory_disk = folder / "initramfs"
    memory_disk.write_bytes(initramfs(found / "modules", RESULTS, f"{sys.executable} {guest} {RESULTS}"))
    console = run_machine(folder, memory_disk, [], timeout_s=timeout_s)
    ended = folder / "exit_code"
    return Outcome(int(ended.read_text()) if ended.exists() else None, console)


def run_machine(
    folder: Path, memory_disk: Path, arguments: list[str], *, timeout_s: float, disk: Path | None = None
) -> str:
    """Boot `memory_disk`, with the kernel arguments `arguments`, until the machine goes off or boots again; return
    what its console showed. `folder` is the share "results", `disk` the image of its disk."""
    found = kernel()
    assert found is not None
    machine = [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-serial", "stdio", "-smp", str(PROCESSORS), "-m", str(MEMORY_MIB),
        *(("-accel", "kvm", "-cpu", "host") if is_accelerated() else ("-accel", "tcg,thread=multi", "-cpu", PLAIN)),
        "-kernel", str(found / "vmlinuz"), "-initrd", str(memory_disk),
        "-append", "console=ttyS0 loglevel=2 panic=-1 mitigations=off " + " ".join(arguments),
        "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
        "-virtfs", f"local,path={folder},mount_tag=results,security_model=none",
        *(() if disk is None else ("-drive", f"file={disk},format=raw,if=virtio,cache=unsafe")),
    ]  # fmt: skip
    try:
        console = subprocess.run(
            machine, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout_s
        ).stdout
    except subprocess.TimeoutExpired as late:
        console = (late.stdout or b"") + b"\n(it did not power off within %d s)" % timeout_s
    return console.decode(errors="replace")
