"""PID 1 for programs that are not made for it: hands signals on, reaps orphans, ends with its child's status."""

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
    """Fork; the child returns, to become the user's process; the parent stays as init and never returns.

    `arguments` are the process's, which init's own title shows; `restrict` takes the init's own privileges down. Init
    lets go of every descriptor beside the standard three. The child returns with every signal blocked: `become` unblocks
    them when it executes, and what init has forwarded until then is pending.
    """
    # Blocked before the fork: the SIGCHLD of a child that ends at once stays pending until init waits (signal(7)).
    # Delivered before, to a handler or to the default action, nobody would hear of it, and init would wait for ever.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    # ignored, the kernel would reap the child without a signal and without a status (waitpid(2), "Linux notes")
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
    """Make `group` the terminal's foreground, where standard input is one."""
    if os.isatty(0):  # from the background, which takes that SIGTTOU is blocked (tcsetpgrp(3)): every signal is
        os.tcsetpgrp(0, group)


def _serve(child: int, arguments: Sequence[str], restrict: Callable[[], None]) -> NoReturn:
    # non-dumpable: the container's processes may not look into, or open through /proc, what we were forked from
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    # where it is not PID 1, orphans are to come to it all the same
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
    """Write over the command line that was inherited: it is the keeper's and names places of the host."""
    title = TITLE + b"\0".join(os.fsencode(one) for one in arguments) + b"\0"
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return
    start, end = int(fields[ARGUMENTS_START - 2]), int(fields[ARGUMENTS_END - 2])
    if start:
        # its last byte stays 0: else the kernel takes it for one text up to the first 0 (setproctitle(3))
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
