"""A process for a container that ends before the process has joined it."""

import os
import subprocess

import pytest

from runtime.oci import launch
from runtime.oci.process import StartError

pytestmark = pytest.mark.root


def failure(pidfd, cgroup):
    """What a child is refused with that would become a process of the container."""
    out, inner = os.pipe()
    child = os.fork()
    if not child:
        try:
            launch.execute_inside(pidfd, cgroup, {}, {}, None, (), None, -1)
        except BaseException as error:  # noqa: BLE001 - the parent judges it
            os.write(inner, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(inner)
    os.waitpid(child, 0)
    with open(out) as text:
        return text.read()


@pytest.mark.parametrize("cgroup", [None, "/no-such-cgroup"])
def test_a_container_that_ended_is_said_not_to_run(cgroup):
    ended = subprocess.Popen(["true"])
    pidfd = os.pidfd_open(ended.pid)
    ended.wait()
    try:
        assert failure(pidfd, cgroup) == f"{StartError.__name__}: the container is no longer running"
    finally:
        os.close(pidfd)
