"""Stops: who is waited for, for how long, and what is said of who is not."""

import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runtime.linux.signals import drops
from tests.support.project import eventually

pytestmark = pytest.mark.root

STACK = """
services:
  deaf: {image: busybox, command: sleep infinity}
  shell: {image: busybox, command: ["sh", "-c", "sleep infinity; echo"]}
  init: {image: busybox, init: true, command: sleep infinity}
  slow: {image: busybox, init: true, command: ["sh", "-c", "trap 'sleep 1; exit 4' TERM; while :; do sleep 0.1; done"]}
  trap: {image: busybox, command: ["sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done"]}
  busy:
    image: busybox
    stop_grace_period: 1500ms
    command: ["sh", "-c", "trap : TERM; touch /ready; while :; do sleep 0.1; done"]
    healthcheck: {test: test -e /ready, interval: 100ms}
  at_once: {image: busybox, stop_grace_period: 0s, command: sleep infinity}
"""


def test_a_process_without_a_handler_is_not_waited_for_and_the_cure_is_shown(stack):
    project = stack(STACK)
    project.skiff("up", "-d", "--wait")
    began = datetime.fromisoformat(project.inspect("deaf")["State"]["StartedAt"][:26] + "+00:00")
    # what the engine says is about programs that had time to install a handler
    eventually(lambda: (datetime.now(UTC) - began).total_seconds() > 2.1)
    before_s = time.monotonic()
    said = project.skiff("stop").stderr
    took_s = time.monotonic() - before_s
    assert 1.5 <= took_s < 8  # `busy` has its grace period to the end; nobody else's 10 s are waited for
    codes = {
        name: project.inspect(name)["State"]["ExitCode"] for name in ("deaf", "shell", "init", "slow", "trap", "busy")
    }
    assert codes == {"deaf": 137, "shell": 137, "init": 143, "slow": 4, "trap": 3, "busy": 137}
    told = [line.split(":")[0].strip() for line in said.splitlines() if "no handler for SIGTERM" in line]
    assert sorted(told) == ["deaf", "shell"]
    assert "init: true" in said


WAITS = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {15}); print(flush=True); signal.sigwait({15})"
SLEEPS = "import time; print(flush=True); time.sleep(600)"


@contextmanager
def first_process(code):
    """Run Python `code` as process 1 of a PID namespace until the block ends; it prints a line when it is ready."""
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        process.kill()


def test_a_signal_that_process_1_waits_for_is_not_dropped():
    """As tini and dumb-init do: the kernel shows it as not blocked then."""
    with first_process(WAITS) as pid:
        eventually(lambda: "SigBlk:\t0000000000000000" in Path(f"/proc/{pid}/status").read_text())
        assert not drops(pid, signal.SIGTERM)
    with first_process(SLEEPS) as pid:
        eventually(lambda: drops(pid, signal.SIGTERM))
