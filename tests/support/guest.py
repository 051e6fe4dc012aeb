"""The first process of the tests' virtual machine: lays it out as systemd does, runs one command, powers off.

Run as `guest.py RESULTS`, where RESULTS/job.json has the command; its exit code goes into RESULTS/exit_code.
"""

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

MOUNTS = (
    ("proc", "/proc", ""), ("sysfs", "/sys", ""), ("devtmpfs", "/dev", ""), ("devpts", "/dev/pts", "mode=0620,gid=5"),
    ("tmpfs", "/dev/shm", ""), ("mqueue", "/dev/mqueue", ""), ("tmpfs", "/tmp", ""), ("tmpfs", "/run", ""),
    ("tmpfs", "/var/lib", ""), ("cgroup2", "/sys/fs/cgroup", "nsdelegate,memory_recursiveprot"),
)  # fmt: skip
CGROUPS = Path("/sys/fs/cgroup")
SESSION = CGROUPS / "user.slice/user-0.slice/session-1.scope"
RB_POWER_OFF = 0x4321FEDC  # <linux/reboot.h>
MS_BIND = 4096  # <linux/mount.h>
SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # <linux/sockios.h>, <linux/if.h>


def mount(source: str, point: str, kind: str, flags: int, options: str = "") -> None:
    """mount(2); makes the directory."""
    os.makedirs(point, exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), point.encode(), kind.encode(), flags, options.encode()):
        raise OSError(ctypes.get_errno(), f"mount {source} at {point}")


def lay_out(kept: list[str]) -> None:
    """Mount what a running system has, with the cgroups that systemd makes and the controllers it enables.

    The folders `kept` stay where they are, whatever is mounted above them.
    """
    for number, folder in enumerate(kept):
        mount(folder, f"/kept/{number}", "", MS_BIND)
    for kind, point, options in MOUNTS:
        mount(kind, point, kind, 0, options)
    for number, folder in enumerate(kept):
        mount(f"/kept/{number}", folder, "", MS_BIND)
    (CGROUPS / "init.scope").mkdir()
    (CGROUPS / "init.scope/cgroup.procs").write_text("1")
    (CGROUPS / "cgroup.subtree_control").write_text("+cpu +io +memory +pids")
    SESSION.mkdir(parents=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        import fcntl

        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    socket.sethostname("machine")


def run(job: dict[str, Any]) -> int:
    """Run the job's command in the session's cgroup and reap every orphan until it ends; returns its exit code."""
    process = subprocess.Popen(
        job["command"],
        cwd=job["directory"],
        env={"PATH": os.environ.get("PATH") or os.defpath, "HOME": "/root", "TERM": "dumb", **job["environment"]},
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: (SESSION / "cgroup.procs").write_text("0"),
    )
    while True:
        pid, status = os.wait()
        if pid == process.pid:
            return os.waitstatus_to_exitcode(status)


def main() -> None:
    """See the module."""
    results = Path(sys.argv[1])
    try:
        job = json.loads((results / "job.json").read_text())
        lay_out(job["kept"])
        code = run(job)
        (results / "exit_code").write_text(str(code))
    except BaseException:  # noqa: BLE001 - whatever it is, the console shows it, and the machine goes off
        traceback.print_exc()
    sys.stdout.flush()
    os.sync()
    ctypes.CDLL(None).reboot(RB_POWER_OFF)


if __name__ == "__main__":
    main()
