"""Scheduling settings of a process: `process.scheduler`, `ioPriority` and `execCPUAffinity`."""

from __future__ import annotations

import os

from runtime.hints import TYPE_CHECKING
from runtime.linux import scheduler as kernel
from runtime.linux import syscalls as linux
from runtime.oci.program.errors import DocumentError

if TYPE_CHECKING:
    from runtime.oci.types import OciProcess

# <linux/sched.h>
POLICIES = {
    "SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_ISO": 4, "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}  # fmt: skip
FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01, "SCHED_FLAG_RECLAIM": 0x02, "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08, "SCHED_FLAG_KEEP_PARAMS": 0x10, "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}  # fmt: skip
# <linux/ioprio.h>
CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
CLASS_SHIFT, WHO_PROCESS, LAST_LEVEL = 13, 1, 7


def check(process: OciProcess, where: str) -> None:
    """Raise DocumentError if `process` has an unknown policy, flag, class or CPU list."""
    scheduler = process.get("scheduler")
    if scheduler:
        if scheduler["policy"] not in POLICIES:
            raise DocumentError(f"{where}: process.scheduler.policy {scheduler['policy']!r} is not a policy of Linux")
        for flag in scheduler.get("flags") or ():
            if flag not in FLAGS:
                raise DocumentError(f"{where}: process.scheduler.flags: {flag!r} is not a flag of Linux")
    priority = process.get("ioPriority") or {}
    if priority:
        if priority["class"] not in CLASSES:
            raise DocumentError(f"{where}: process.ioPriority.class {priority['class']!r} is not a class of Linux")
        if not 0 <= priority.get("priority", 0) <= LAST_LEVEL:
            raise DocumentError(f"{where}: process.ioPriority.priority must be from 0 to {LAST_LEVEL}")
    for when, text in (process.get("execCPUAffinity") or {}).items():
        try:
            cpus(text)
        except ValueError as error:
            raise DocumentError(f"{where}: process.execCPUAffinity.{when}: {text!r} is not a list of CPUs") from error


def cpus(text: str) -> set[int]:
    """Parse a list of CPUs such as "0-3,7". Raises ValueError."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        low, high = int(first), int(last if dash else first)
        if not 0 <= low <= high < 1 << 16:
            raise ValueError(part)
        found.update(range(low, high + 1))
    return found


def apply(process: OciProcess) -> None:
    """Set the caller's scheduling policy and I/O priority. Raises KernelError."""
    scheduler = process.get("scheduler")
    if scheduler:
        flags = 0
        for flag in scheduler.get("flags") or ():
            flags |= FLAGS[flag]
        kernel.set_scheduler(
            POLICIES[scheduler["policy"]],
            flags,
            scheduler.get("nice", 0),
            scheduler.get("priority", 0),
            (scheduler.get("runtime", 0), scheduler.get("deadline", 0), scheduler.get("period", 0)),
        )
    priority = process.get("ioPriority")
    if priority:
        level = CLASSES[priority["class"]] << CLASS_SHIFT | priority.get("priority", 0)
        linux.call("ioprio_set", WHO_PROCESS, 0, level)


def pin(process: OciProcess, when: str) -> None:
    """Bind the calling process to the CPUs of `execCPUAffinity`; `when` is "initial" or "final". Raises OSError."""
    text = (process.get("execCPUAffinity") or {}).get(when)
    if text:
        os.sched_setaffinity(0, cpus(text))
