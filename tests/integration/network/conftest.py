import tempfile
from pathlib import Path

import pytest

from runtime.paths import Paths


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def paths():
    with tempfile.TemporaryDirectory(prefix="skf-n-") as folder:
        paths = Paths(Path(folder, "root"), Path(folder, "run"))
        paths.root.mkdir()
        yield paths
