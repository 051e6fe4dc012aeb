"""What a process, or the machine, has no more of: what that is, and how to allow more."""

from __future__ import annotations

import errno
import os
import resource

from runtime.errors import KernelError, UnavailableError

RESERVE = 64
"""The last descriptors, which no connection gets: they are for what goes on, such as a log that is written to again. As
many before them start nothing: there is always one for the client that asks to stop something."""
CURES = {
    errno.EMFILE: (
        "no more files can be opened by the engine, the limit is {files}",
        "stop something, or start the engine where more are allowed: `ulimit -Hn 1048576` before it starts, "
        "LimitNOFILE=1048576 in its systemd unit",
    ),
    errno.ENFILE: (
        "no more files can be opened on this machine",
        "allow more: `sysctl fs.file-max=1000000`, and see who has them: `lsof`",
    ),
    errno.EAGAIN: (
        "no more processes can be started",
        "allow more: `ulimit -u`, TasksMax= in the engine's systemd unit, `sysctl kernel.pid_max kernel.threads-max`",
    ),
    errno.EXFULL: (  # <linux/if_bridge.h>: BR_MAX_PORTS
        "the network's bridge has as many containers as a bridge can have, 1,023",
        "put some of them on other networks",
    ),
    errno.ENOMEM: (
        "the machine has no memory left for this",
        "stop something, or give the engine's control group more",
    ),
}
NO_THREAD = "can't start new thread"
"""What `threading` says of EAGAIN."""


def exhaustion_error(error: BaseException) -> UnavailableError | None:
    """Return the error that says what ran out, when that is what `error` means; None when it is not."""
    if isinstance(error, RuntimeError) and NO_THREAD in str(error):
        return exhausted(errno.EAGAIN)
    if isinstance(error, KernelError):  # of others than fork(2), EAGAIN may mean anything
        return exhausted(error.errno) if error.errno != errno.EAGAIN else None
    return exhausted(error.errno) if isinstance(error, OSError) else None


def exhausted(number: int | None) -> UnavailableError | None:
    """Return what the error `number` says of resources, None when it says nothing of them."""
    if number not in CURES:
        return None
    message, hint = CURES[number]
    return UnavailableError(message.format(files=most_files()), hint)


def most_files() -> int:
    """Return how many descriptors this process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def check_connection(descriptor: int) -> None:
    """Raise UnavailableError when `descriptor` is one of the last: it was the lowest that was free (open(2))."""
    if descriptor >= most_files() - RESERVE:
        raise _exhausted_files()


def check_start() -> None:
    """Raise UnavailableError when few descriptors are left: what is started now would fail halfway, or soon after."""
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
