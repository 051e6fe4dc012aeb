"""What a process does with a signal, as /proc says (proc_pid_status(5): SigBlk, SigIgn, SigCgt, NSpid)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def drops(pid: int, signum: int) -> bool:
    """Whether the kernel drops the signal `signum` for process `pid`, so that it has no effect.

    It does for process 1 of a PID namespace that has no handler for it, even if the default action were to end it
    (pid_namespaces(7), "The namespace init process"); a signal that is blocked is kept, for sigwait(3) or signalfd(2).
    """
    status = _status(pid)
    if (
        status.get("NSpid", "").split()[-1:] != ["1"]
        or len(status["NSpid"].split()) < 2
        or status.get("TracerPid") != "0"
    ):
        return False
    mask = 1 << (signum - 1)
    return not any(int(status.get(key) or "0", 16) & mask for key in ("SigCgt", "SigBlk"))


def _status(pid: int) -> Mapping[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has exited
        return {}
    pairs = (line.partition(":") for line in lines)
    return {key: value.strip() for key, _, value in pairs}
