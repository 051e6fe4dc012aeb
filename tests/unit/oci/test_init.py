"""PID 1 for programs that are not made for it: what its child's end leads to, whenever that comes."""

import os
import select
import signal

import pytest

from runtime.oci import init

LIMIT_S = 20


def ended(program):
    """Run `program` in a forked process and return its exit code; it fails where the process does not end."""
    pid = os.fork()
    if pid == 0:
        try:
            program()
        finally:
            os._exit(99)
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    has_ended = poll.poll(LIMIT_S * 1000)
    os.kill(pid, signal.SIGKILL)
    os.close(pidfd)
    _, status = os.waitpid(pid, 0)
    assert has_ended, "init waits for a child that has ended"
    return os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize("action", [signal.SIG_DFL, signal.SIG_IGN, lambda *_: None])
def test_a_child_that_has_ended_before_init_waits_is_seen(action):
    def program():
        signal.signal(signal.SIGCHLD, action)

        def until_the_child_is_dead():
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)

        init.supervise(["true"], until_the_child_is_dead)
        os._exit(7)

    assert ended(program) == 7


def test_a_signal_that_comes_before_the_child_executes_has_its_default_action():
    def program():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        parent = os.getpid()
        init.supervise(["sleep"], lambda: None)
        os.kill(parent, signal.SIGTERM)  # init hands it on
        while signal.SIGTERM not in signal.sigpending():
            select.select((), (), (), 0.001)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os._exit(7)

    assert ended(program) == 128 + signal.SIGTERM
