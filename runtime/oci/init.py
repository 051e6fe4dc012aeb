"""`docker run --init`: a PID 1 that forwards signals to its child, reaps orphans and exits with the child's status."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Sequence

from runtime.hints import NoReturn
from runtime.linux import syscalls as linux

TERMINAL_SIGNALS = (signal.SIGTTIN, signal.SIGTTOU)
TITLE = b"/sbin/docker-init\0--\0"
NAME = b"docker-init"
ARGUMENTS_START, ARGUMENTS_END = 47, 48  # fields of /proc/<pid>/stat, counted from 0 (proc(5))
HIGHEST_DESCRIPTOR = 1 << 20


def supervise(arguments: Sequence[str], restrict: Callable[[], None]) -> None:
    """Fork. The child returns and becomes the user's process; the parent stays as init and never returns.

    `arguments` are the process's, shown in init's title; `restrict` drops init's own privileges. Init closes every
    descriptor but the standard three. The child returns with all signals blocked; `become` unblocks them before
    execve(2), so signals that init has forwarded until then are pending.
    """
    # Blocked before the fork: the SIGCHLD of a child that exits at once stays pending until sigwait (signal(7)).
    # Delivered earlier, to a handler or the default action, it would be lost, and init would wait forever.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    # if SIGCHLD is ignored, the kernel reaps children itself and their status is lost (waitpid(2), "Linux notes")
    linux.default_signal(signal.SIGCHLD)
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        _take_terminal(os.getpid())
        return
    try:
        _serve(child, arguments, restrict)
    finally:
        os._exit(128)


def _take_terminal(group: int) -> None:
    """Make `group` the foreground process group if standard input is a terminal."""
    if os.isatty(0):  # called from the background: works since SIGTTOU is blocked, like every signal (tcsetpgrp(3))
        os.tcsetpgrp(0, group)


def _serve(child: int, arguments: Sequence[str], restrict: Callable[[], None]) -> NoReturn:
    # non-dumpable: our memory and /proc/<pid> are a copy of the keeper's, and closed to the container's processes
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    # in a shared PID namespace it is not PID 1, and orphans are re-parented to it only as a subreaper
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    _take_title(arguments)
    os.closerange(3, HIGHEST_DESCRIPTOR)
    restrict()
    everything = signal.valid_signals()
    while True:
        number = signal.sigwait(everything)
        if number == signal.SIGCHLD:
            _reap(child)
        elif number not in TERMINAL_SIGNALS:
            try:
                os.kill(child, number)
            except ProcessLookupError:
                continue


def _take_title(arguments: Sequence[str]) -> None:
    """Overwrite the inherited command line in memory: it is the keeper's and contains paths of the host."""
    title = TITLE + b"\0".join(os.fsencode(one) for one in arguments) + b"\0"
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return
    start, end = int(fields[ARGUMENTS_START - 2]), int(fields[ARGUMENTS_END - 2])
    if start:
        # the last byte must stay 0, or the kernel takes the whole for one string (setproctitle(3))
        ctypes.memmove(start, title[: end - start - 1].ljust(end - start, b"\0"), end - start)
    name = ctypes.create_string_buffer(NAME)
    linux.prctl(linux.PR_SET_NAME, ctypes.addressof(name))


def _reap(child: int) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid == child:
            os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
