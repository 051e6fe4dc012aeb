import tempfile
from pathlib import Path

import pytest

from runtime.paths import Paths
from tests.support.networks import machine_beside


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def paths():
    with tempfile.TemporaryDirectory(prefix="skf-n-") as folder:
        paths = Paths(Path(folder, "root"), Path(folder, "run"))
        paths.root.mkdir()
        yield paths


@pytest.fixture
def elsewhere():
    """A machine beside this one: gives the path of its network namespace."""
    with machine_beside() as path:
        yield path
