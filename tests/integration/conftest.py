"""What tests of several rooms need."""

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.support.bundles import Program


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
