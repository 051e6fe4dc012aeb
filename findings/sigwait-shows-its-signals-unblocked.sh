#!/bin/sh
# Linux 6.18 by plain Python (3.11), no package; seen 2026-11-29.
#
# What happens: SigBlk in /proc/PID/status is not the mask that a process has set. While it is in sigwait(3) or
# sigtimedwait(2), the kernel takes the signals that it waits for out of what is shown, so that a process that blocks
# SIGTERM in order to receive it looks exactly like one for which SIGTERM means death: not blocked, ignored or caught. The
# same process shows the signal as blocked as soon as it does anything else. proc_pid_status(5) says "mask of blocked
# signals" and nothing of this. tini, dumb-init and other first processes of containers spend their life in that call.
#
# What it means for us: a stop that does not wait for processes without a handler (runtime/linux/signals.py) must look at the
# system call that a process is in as well; by the masks alone it killed those that handle the signal best.
set -eu

python3 - <<'PYTHON'
import os
import signal
import subprocess
import sys
import time

BLOCK = "import signal, sys, time; signal.pthread_sigmask(signal.SIG_BLOCK, {15}); print(flush=True); "
TERM = 1 << (signal.SIGTERM - 1)


def masks(pid):
    with open(f"/proc/{pid}/status") as file:
        rows = dict(line.rstrip().split(":\t") for line in file if line.startswith("Sig") and "Q" not in line)
    return {name: bool(int(rows[name], 16) & TERM) for name in ("SigBlk", "SigIgn", "SigCgt")}


def seen(what, code):
    process = subprocess.Popen([sys.executable, "-c", BLOCK + code], stdout=subprocess.PIPE)
    process.stdout.readline()
    state = ""
    while state != "S":  # it sleeps in the call
        time.sleep(0.05)
        with open(f"/proc/{process.pid}/stat") as file:
            state = file.read().rpartition(")")[2].split()[0]
    found = masks(process.pid)
    os.kill(process.pid, signal.SIGTERM)
    try:
        ended = f"exit {process.wait(2)}"
    except subprocess.TimeoutExpired:
        ended = "no effect"
        process.kill()
        process.wait()
    print(f"{what:12} {found}  SIGTERM: {ended}")
    return found["SigBlk"], found["SigIgn"], found["SigCgt"], ended


waits = seen("in sigwait", "sys.exit(signal.sigwait({15}))")
sleeps = seen("in sleep", "time.sleep(600)")
expected = ((False, False, False, "exit 15"), (True, False, False, "no effect"))
sys.exit(0 if (waits, sleeps) == expected else "this has changed")
PYTHON
