"""PID 1 for programs that are not made for it: hands signals on, reaps orphans, ends with its child's status."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from runtime.hints import NoReturn
from runtime.linux import syscalls as linux

TERMINAL_SIGNALS = (signal.SIGTTIN, signal.SIGTTOU)


def supervise(restrict: Callable[[], None]) -> None:
    """Fork; the child returns, to become the user's process; the parent stays as init and never returns.

    `restrict` takes the init's own privileges down. Init lets go of every descriptor beside the standard three.
    """
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        _take_terminal(os.getpid())
        return
    try:
        _serve(child, restrict)
    finally:
        os._exit(128)


def _take_terminal(group: int) -> None:
    """Make `group` the terminal's foreground, where standard input is one."""
    if os.isatty(0):
        signal.pthread_sigmask(signal.SIG_BLOCK, TERMINAL_SIGNALS)
        os.tcsetpgrp(0, group)


def _serve(child: int, restrict: Callable[[], None]) -> NoReturn:
    # non-dumpable: the container's processes may not look into, or open through /proc, what we were forked from
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    os.closerange(3, 1 << 16)
    restrict()
    everything = signal.valid_signals()
    signal.pthread_sigmask(signal.SIG_BLOCK, everything)
    while True:
        number = signal.sigwait(everything)
        if number == signal.SIGCHLD:
            _reap(child)
        elif number not in TERMINAL_SIGNALS:
            try:
                os.kill(child, number)
            except ProcessLookupError:
                continue


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
