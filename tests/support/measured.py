"""A command with what it took: started by a process small enough not to show in its memory."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass

# The kernel counts for a process what its parent had when it was forked, so the parent must be small.
LAUNCHER = """
import json, os, signal, sys
report = int(sys.argv[1])
os.set_inheritable(report, False)
pid = os.posix_spawn(sys.argv[3], sys.argv[3:], os.environ)
signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
signal.alarm(int(sys.argv[2]))
_, status, usage = os.wait4(pid, 0)
os.write(report, json.dumps([os.waitstatus_to_exitcode(status), usage.ru_maxrss]).encode())
"""


@dataclass(frozen=True)
class Measured:
    """How a command ended, what it wrote to standard error, and the most memory it had."""

    status: int
    said: str
    most_bytes: int


def run_measured(arguments, patience_s=30, **options):
    """Run a command, which is killed after `patience_s` seconds; its standard output is dropped."""
    reading, writing = os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", LAUNCHER, str(writing), str(patience_s), *map(str, arguments)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=(writing,),
            check=True,
            **{"stdin": subprocess.DEVNULL, **options},
        )
        status, most_kib = json.loads(os.read(reading, 1000))
    finally:
        os.close(reading)
        os.close(writing)
    return Measured(status, done.stderr, most_kib << 10)
