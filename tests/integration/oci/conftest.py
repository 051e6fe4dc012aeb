import shutil
import tempfile
from pathlib import Path

import pytest

from tests.support.bundles import Program
from tests.support.probes import Prober


@pytest.fixture(scope="session")
def prober(shared_home, busybox_tar):
    """Containers in the shared engine, which has busybox; one that runs keeps the engine from going as idle."""
    shared_home.skiff("image", "load", "-i", busybox_tar)
    prober = Prober(shared_home)
    keeps = prober.create("sleep", "infinity")
    prober.client.start(keeps)
    yield prober
    shared_home.skiff("engine", "start")
    prober.client.remove(keeps, force=True)


@pytest.fixture(scope="session")
def session_program():
    """The OCI program with a state directory of its own, where users of other namespaces can come to."""
    folder = Path(tempfile.mkdtemp(prefix="skiff-oci-", dir="/tmp"))
    folder.chmod(0o755)
    program = Program(folder)
    yield program
    program.clean()
    shutil.rmtree(folder)


@pytest.fixture
def oci(session_program):
    """The OCI program; what a test left behind is deleted after it."""
    yield session_program
    session_program.clean()
