"""What ran out is said, with the way to more of it."""

import errno
import subprocess
import sys

import pytest

from runtime.errors import KernelError
from runtime.exhausted import exhaustion_error, most_files


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (OSError(errno.EMFILE, "x"), "the engine has too many open files, the limit is", "LimitNOFILE="),
        (OSError(errno.ENFILE, "x"), "this machine has too many open files", "fs.file-max"),
        (BlockingIOError(errno.EAGAIN, "x"), "no more processes can be started", "TasksMax="),
        (RuntimeError("can't start new thread"), "no more processes can be started", "ulimit -u"),
        (KernelError("setns", (3,), errno.ENOMEM), "out of memory", "cgroup"),
        (KernelError("rtnetlink", (), errno.EXFULL), "the maximum of a Linux bridge", "another network"),
        (KernelError("socket", (), errno.EMFILE), "the engine has too many open files", "ulimit -Hn"),
    ],
)
def test_what_ran_out_is_reported_with_its_cure(error, message, hint):
    told = exhaustion_error(error)
    assert told.status == 503
    assert message in told.message
    assert hint in told.hint


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOENT, "x"), ValueError("x"), RuntimeError("x"), KernelError("recv", (), errno.EAGAIN)]
)
def test_other_errors_are_none_of_it(error):
    assert exhaustion_error(error) is None


def test_the_limit_is_named():
    assert f"the limit is {most_files()}" in exhaustion_error(OSError(errno.EMFILE, "x")).message


def test_the_thread_that_python_cannot_start_is_one_of_it():
    # what threading says is no part of its interface: a Python that says it otherwise shows here
    script = (
        "import resource, threading\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))\n"
        "threading.stack_size(1 << 27)\n"
        "event = threading.Event()\n"
        "try:\n"
        "    for _ in range(8): threading.Thread(target=event.wait, daemon=True).start()\n"
        "except RuntimeError as error:\n"
        "    print(error, flush=True)\n"
        "    import os; os._exit(0)\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30).stdout
    assert exhaustion_error(RuntimeError(said)) is not None


def test_few_descriptors_left_start_nothing_and_the_last_take_no_connection():
    script = """
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from runtime.errors import UnavailableError
from runtime.exhausted import check_connection, check_start
started = connected = 0
while True:
    descriptor = os.dup(2)
    try:
        check_connection(descriptor)
        connected = descriptor
    except UnavailableError:
        break
    try:
        check_start()
        started = descriptor
    except UnavailableError:
        pass
print(started, connected)
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True).stdout
    # with the one that counts them
    assert [int(one) for one in said.split()] == [256 - 2 * 64 - 3, 256 - 64 - 1]
