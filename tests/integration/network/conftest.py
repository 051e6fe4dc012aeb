import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from runtime.linux import syscalls as linux
from runtime.paths import Paths
from tests.support.networks import second_machine


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module")
def own_network():
    """A network namespace of the module's own: what other engines have of the machine's addresses is not met there."""
    machines = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    linux.call("unshare", linux.CLONE_NEWNET)
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        linux.call("setns", machines, linux.CLONE_NEWNET)
        os.close(machines)


@pytest.fixture
def paths():
    with tempfile.TemporaryDirectory(prefix="skf-n-") as folder:
        paths = Paths(Path(folder, "root"), Path(folder, "run"))
        paths.root.mkdir()
        yield paths


@pytest.fixture
def elsewhere():
    """Another machine next to this one: gives the path of its network namespace."""
    with second_machine() as path:
        yield path
