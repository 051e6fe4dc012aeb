"""A virtual machine whose first process is Debian's systemd, with a disk that outlives its boots."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support import virtual_machine
from tests.support.machine_image import initramfs

INIT = Path("/lib/systemd/systemd")
DISK_MIB = 512
JOB = "skiff-test.service"
UNITS = "etc/systemd/system"
KEPT = {
    "dbus.socket",
    "dbus.service",
    "systemd-journald.socket",
    "systemd-journald-dev-log.socket",
    "systemd-journald.service",
    "systemd-logind.service",
    "systemd-user-sessions.service",
}
"""Of what a Debian starts at its boot, what these tests need; the rest costs an emulated machine a minute."""
COSTLY = (
    "serial-getty@ttyS0.service", "console-getty.service", "getty-static.service",
    "systemd-remount-fs.service", "systemd-random-seed.service", "e2scrub_reap.service",
    "systemd-udevd.service", "systemd-udevd-control.socket", "systemd-udevd-kernel.socket",
    "systemd-journal-flush.service", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service",
    "kmod-static-nodes.service", "modprobe@.service", "ldconfig.service", "systemd-hwdb-update.service",
)  # fmt: skip
JOB_UNIT = f"""[Unit]
Description=The job of the tests

[Service]
ExecStart=/bin/sh {virtual_machine.RESULTS}/run.sh
TimeoutStopSec=5
"""
RUN = """cd {results}
PATH={path}
sh ./job.sh >job.log 2>&1
code=$?
[ $code = 0 ] || journalctl -b --no-pager >journal.log
echo $code >exit_code
sync
systemctl --no-block {end}
"""


@dataclass(frozen=True)
class Boot:
    """What came of a boot: the job's exit code and output, how long it all took, and what the console showed."""

    exit_code: int | None
    output: str
    took_s: float
    console: str


def why_not() -> str | None:
    """Return why no such machine can be made here, None when one can."""
    if not INIT.exists():
        return "no machine with systemd: needs Debian's systemd"
    if shutil.which("dbus-daemon") is None:
        return "no machine with systemd: needs Debian's dbus, for its login manager"
    if shutil.which("mke2fs") is None:
        return "no machine with a disk: needs Debian's e2fsprogs"
    folder = virtual_machine.kernel()
    if folder is not None and not (folder / "modules/fs/ext4").exists():
        return "no machine with a disk: its kernel has no ext4, `.ci/kernel` provides another one"
    return virtual_machine.why_not()


def make_disk(image: Path, folders: Mapping[str, int], files: Mapping[str, str]) -> None:
    """Make the disk: a writable layer above this machine's files, with `files` in it; next to it `folders`, with owners."""
    content = image.with_suffix(".content")
    units = content / "upper" / UNITS
    units.mkdir(parents=True)
    for folder, owner in folders.items():
        own = content / "folders" / folder.strip("/").replace("/", "=")
        own.mkdir(parents=True)
        os.chown(own, owner, owner)
    wanted = {link.name for root in ("/etc", "/lib") for link in Path(root).glob("systemd/system/*.wants/*")}
    for unit in {*wanted, *COSTLY} - KEPT:
        if not unit.endswith(".target"):
            (units / unit).symlink_to("/dev/null")
    (units / "multi-user.target.wants").mkdir()
    (units / "multi-user.target.wants" / JOB).symlink_to(f"/{UNITS}/{JOB}")
    fixed = {"etc/fstab": "", "etc/machine-id": "0123456789abcdef0123456789abcdef\n", f"{UNITS}/{JOB}": JOB_UNIT}
    for name, text in {**fixed, **files}.items():
        file = content / "upper" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    subprocess.run(
        ["mke2fs", "-q", "-t", "ext4", "-d", content, image, f"{DISK_MIB}M"], check=True, stdin=subprocess.DEVNULL
    )
    shutil.rmtree(content)


def boot(folder: Path, image: Path, job: str, *, timeout_s: float, is_last: bool = False) -> Boot:
    """Boot from `image`, run the shell script `job` as a service, reboot; off with `is_last`. `folder` is its RESULTS."""
    kernel = virtual_machine.kernel()
    assert kernel is not None
    (folder / "job.sh").write_text(job)
    for earlier in ("exit_code", "job.log", "journal.log"):
        (folder / earlier).unlink(missing_ok=True)
    run = RUN.format(
        results=virtual_machine.RESULTS,
        end="poweroff --force --force" if is_last else "reboot",
        path=os.environ["PATH"],
    )
    (folder / "run.sh").write_text(run)
    memory_disk = folder / "initramfs"
    memory_disk.write_bytes(initramfs(kernel / "modules", virtual_machine.RESULTS, str(INIT), has_disk=True))
    arguments = [
        "systemd.show_status=no", "systemd.firstboot=no", "systemd.unit=multi-user.target", "systemd.log_target=kmsg",
        "systemd.log_level=info", "loglevel=7", "cgroup_no_v1=all", "systemd.unified_cgroup_hierarchy=1", "rw",
    ]  # fmt: skip
    begun_s = time.monotonic()
    console = virtual_machine.run_machine(folder, memory_disk, arguments, timeout_s=timeout_s, disk=image)
    took_s = time.monotonic() - begun_s
    read = {
        name: (folder / name).read_text()
        for name in ("exit_code", "job.log", "journal.log")
        if (folder / name).exists()
    }
    code = int(read["exit_code"]) if read.get("exit_code", "").strip() else None
    return Boot(code, read.get("job.log", "") + read.get("journal.log", ""), took_s, console)
