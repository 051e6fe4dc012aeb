"""pidfds: signals to processes, and the exit status of processes that are not children (ioctl_pidfd(2))."""

from __future__ import annotations

import fcntl
import os
import signal
import struct

PIDFD_GET_INFO = 0xC040FF0B  # <linux/pidfd.h>: _IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info), first published size
PIDFD_INFO_EXIT = 1 << 3
PIDFD_INFO_BYTES = 64
EXIT_CODE_OFFSET = 60


def kill(pidfd: int) -> None:
    """Kill a process; one that has exited, or another process that has got its PID, is not affected."""
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return


def remembers_exits() -> bool:
    """Whether the kernel returns the exit status to any process with a pidfd (PIDFD_INFO_EXIT, Linux 6.15)."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int("".join(filter(str.isdigit, minor)) or 0)) >= (6, 15)


def wait_status(pidfd: int) -> int | None:
    """Return the wait status of an exited and reaped process, as from waitpid(2); None while it is not reaped.

    Raises OSError if the kernel does not have the status.
    """
    info = bytearray(PIDFD_INFO_BYTES)
    struct.pack_into("=Q", info, 0, PIDFD_INFO_EXIT)
    fcntl.ioctl(pidfd, PIDFD_GET_INFO, info)
    (mask,) = struct.unpack_from("=Q", info, 0)
    if not mask & PIDFD_INFO_EXIT:
        return None
    status: int = struct.unpack_from("=i", info, EXIT_CODE_OFFSET)[0]
    return status
