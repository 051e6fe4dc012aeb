"""Resources that ran out, of a process or of the machine: which one, and how to raise the limit."""

from __future__ import annotations

import errno
import os
import resource

from runtime.errors import KernelError, UnavailableError

RESERVE = 64
"""Descriptors that are reserved for what already runs, such as reopened logs: connections are refused before they are
used. Starts are refused another RESERVE earlier: so a client that wants to stop something can still connect."""
CURES = {
    errno.EMFILE: (
        "the engine has too many open files, the limit is {files}",
        "stop something, or start the engine where more are allowed: `ulimit -Hn 1048576` before it starts, "
        "LimitNOFILE=1048576 in its systemd unit",
    ),
    errno.ENFILE: (
        "this machine has too many open files",
        "raise the limit: `sysctl fs.file-max=1000000`, and see who has them: `lsof`",
    ),
    errno.EAGAIN: (
        "no more processes can be started",
        "raise the limit: `ulimit -u`, TasksMax= in the engine's systemd unit, "
        "`sysctl kernel.pid_max kernel.threads-max`",
    ),
    errno.EXFULL: (  # <linux/if_bridge.h>: BR_MAX_PORTS
        "the network's bridge has 1,023 containers, the maximum of a Linux bridge",
        "connect some of them to another network",
    ),
    errno.ENOMEM: (
        "out of memory",
        "stop something, or raise the memory limit of the engine's cgroup",
    ),
}
NO_THREAD = "can't start new thread"
"""The message of the RuntimeError that `threading` raises on EAGAIN."""


def exhaustion_error(error: BaseException) -> UnavailableError | None:
    """Return the error that says which resource ran out, or None if `error` is not about an exhausted resource."""
    if isinstance(error, RuntimeError) and NO_THREAD in str(error):
        return exhausted(errno.EAGAIN)
    if isinstance(error, KernelError):  # system calls other than fork(2) return EAGAIN for other reasons
        return exhausted(error.errno) if error.errno != errno.EAGAIN else None
    return exhausted(error.errno) if isinstance(error, OSError) else None


def exhausted(number: int | None) -> UnavailableError | None:
    """Return the error for errno `number`, or None if it is not about an exhausted resource."""
    if number not in CURES:
        return None
    message, hint = CURES[number]
    return UnavailableError(message.format(files=most_files()), hint)


def most_files() -> int:
    """Return the maximum number of open file descriptors of this process (RLIMIT_NOFILE, soft)."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def check_connection(descriptor: int) -> None:
    """Raise UnavailableError if the new `descriptor` is in the reserve: it was the lowest free one (open(2))."""
    if descriptor >= most_files() - RESERVE:
        raise _exhausted_files()


def check_start() -> None:
    """Raise UnavailableError if few descriptors are left: a container started now could fail halfway."""
    try:
        open_files = len(os.listdir("/proc/self/fd"))
    except OSError as error:
        raise exhaustion_error(error) or error from error
    if open_files >= most_files() - 2 * RESERVE:
        raise _exhausted_files()


def _exhausted_files() -> UnavailableError:
    error = exhausted(errno.EMFILE)
    assert error is not None
    return error
