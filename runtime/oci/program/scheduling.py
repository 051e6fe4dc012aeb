"""Scheduling settings of a process: `process.scheduler`, `ioPriority` and `execCPUAffinity`."""

from __future__ import annotations

import os
from collections.abc import Mapping

from runtime.errors import KernelError
from runtime.hints import TYPE_CHECKING, Any
from runtime.linux import scheduler as kernel
from runtime.linux import syscalls as linux
from runtime.oci.process import StartError
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
# <linux/mempolicy.h>
MEMORY_MODES = {
    "MPOL_DEFAULT": 0, "MPOL_PREFERRED": 1, "MPOL_BIND": 2, "MPOL_INTERLEAVE": 3, "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5, "MPOL_WEIGHTED_INTERLEAVE": 6,
}  # fmt: skip
MEMORY_FLAGS = {"MPOL_F_STATIC_NODES": 1 << 15, "MPOL_F_RELATIVE_NODES": 1 << 14, "MPOL_F_NUMA_BALANCING": 1 << 13}
WITHOUT_NODES = ("MPOL_DEFAULT", "MPOL_LOCAL")
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


def check_memory_policy(policy: Mapping[str, Any] | None, where: str) -> None:
    """Raise DocumentError if `linux.memoryPolicy` has an unknown mode or flag, or a wrong list of nodes."""
    if not policy:
        return
    if policy["mode"] not in MEMORY_MODES:
        raise DocumentError(
            f"{where}: linux.memoryPolicy.mode {policy['mode']!r} must be one of {', '.join(MEMORY_MODES)}"
        )
    for flag in policy.get("flags") or ():
        if flag not in MEMORY_FLAGS:
            raise DocumentError(f"{where}: linux.memoryPolicy.flags: {flag!r} must be one of {', '.join(MEMORY_FLAGS)}")
    try:
        nodes = cpus(policy["nodes"]) if policy.get("nodes") else set()
    except ValueError as error:
        raise DocumentError(f"{where}: linux.memoryPolicy.nodes: {policy['nodes']!r} is not a list of nodes") from error
    if bool(nodes) == (policy["mode"] in WITHOUT_NODES) and policy["mode"] != "MPOL_PREFERRED":
        needs = "has no nodes" if nodes else "needs nodes"
        raise DocumentError(f"{where}: linux.memoryPolicy: {policy['mode']} {needs}")


def set_memory_policy(policy: Mapping[str, Any] | None) -> None:
    """Set the caller's memory policy, which execve(2) keeps. Raises StartError if the machine does not have it."""
    if not policy:
        return
    mode = MEMORY_MODES[policy["mode"]]
    for flag in policy.get("flags") or ():
        mode |= MEMORY_FLAGS[flag]
    nodes = sum(1 << node for node in (cpus(policy["nodes"]) if policy.get("nodes") else ()))
    try:
        linux.set_memory_policy(mode, nodes)
    except KernelError as error:
        raise StartError(
            f"linux.memoryPolicy {policy['mode']} can't be set: {os.strerror(error.errno).lower()}",
            hint="/sys/devices/system/node/online has the nodes of this machine",
        ) from error


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
