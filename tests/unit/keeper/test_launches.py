"""Children on their way to the user's program, as the keeper sees them."""

import os
import select
import signal

from runtime.keeper.launches import Launch, report_pipe
from runtime.keeper.managed_process import Stdio


def test_a_child_that_put_a_sibling_in_its_place_is_not_waited_for():
    stopped = os.fork()
    if stopped == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    watcher = os.fork()
    if watcher == 0:
        report, writer = report_pipe()
        message = {"id": "exec", "container": "one", "timeout_s": 30}
        launch = Launch(message, stopped, os.pidfd_open(stopped), report, Stdio(terminal=False, stdin=False), None)
        os.write(writer, b"P%d\n" % os.getpid())
        os._exit(launch.read_report() and launch.pid == os.getpid() and 7)
    pidfd = os.pidfd_open(watcher)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    has_returned = poll.poll(20_000)
    for pid in (watcher, stopped):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(stopped, 0)
    _, status = os.waitpid(watcher, 0)
    os.close(pidfd)
    assert has_returned
    assert os.waitstatus_to_exitcode(status) == 7
