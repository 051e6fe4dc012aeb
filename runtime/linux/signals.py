"""What a process does with a signal, as /proc says (proc_pid_status(5): SigBlk, SigIgn, SigCgt, NSpid)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

SIGTIMEDWAIT = frozenset({128, 137, 177, 421})
"""The numbers of rt_sigtimedwait(2), by which sigwait(3) and sigtimedwait(2) wait: x86-64, arm64 and riscv64, the 32-bit ones."""


def drops(pid: int, signum: int) -> bool:
    """Whether the kernel drops the signal `signum` for process `pid`, so that it has no effect.

    It does for process 1 of a PID namespace that has no handler for it, even if the default action were to end it
    (pid_namespaces(7), "The namespace init process"); a signal that is blocked is kept, for sigwait(3) or signalfd(2).
    While a process is in sigwait(3), as tini, dumb-init and our own init are, the kernel shows the signals that it waits for
    as not blocked (Linux, kernel/signal.c, do_sigtimedwait: `real_blocked`). So where it is not known what the process
    does at this moment, the answer is no.
    """
    status = _status(pid)
    if (
        status.get("NSpid", "").split()[-1:] != ["1"]
        or len(status["NSpid"].split()) < 2
        or status.get("TracerPid") != "0"
    ):
        return False
    mask = 1 << (signum - 1)
    return not any(int(status.get(key) or "0", 16) & mask for key in ("SigCgt", "SigBlk")) and not _may_wait(pid)


def _may_wait(pid: int) -> bool:
    """Whether the process may be waiting for signals (proc_pid_syscall(5))."""
    try:
        number = Path(f"/proc/{pid}/syscall").read_text().split()[0]
    except (OSError, IndexError):  # it may not be looked at
        return True
    return not number.lstrip("-").isdigit() or int(number) in SIGTIMEDWAIT  # "running"


def _status(pid: int) -> Mapping[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has exited
        return {}
    pairs = (line.partition(":") for line in lines)
    return {key: value.strip() for key, _, value in pairs}
