"""Scheduling attributes of the calling thread (sched(7))."""

from __future__ import annotations

import struct

from runtime.linux import syscalls as linux

ATTRIBUTES_BYTES = 48
"""struct sched_attr of sched_setattr(2), its first published size."""


def set_scheduler(policy: int, flags: int, nice: int, priority: int, times_ns: tuple[int, int, int]) -> None:
    """sched_setattr(2) of the calling thread; `times_ns` are runtime, deadline and period. Raises KernelError."""
    attributes = struct.pack("=IIQiIQQQ", ATTRIBUTES_BYTES, policy, flags, nice, priority, *times_ns)
    linux.call("sched_setattr", 0, attributes, 0)
