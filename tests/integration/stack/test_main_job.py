"""The main job with the real PostgreSQL and Redis, as the demo does it, and the machine compared before and after."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.machine import look

DEMO = Path(__file__).resolve().parents[3] / "samples/webstack/demo.py"
LONGEST_S = 1200
"""With the images' packages to be fetched from Debian's mirror."""
pytestmark = [pytest.mark.root, pytest.mark.first, pytest.mark.timeout(LONGEST_S + 60)]


def test_the_demo_runs_through_and_leaves_the_machine_as_it_was(home):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    before = look(home.root)
    environment = {
        **home.env,
        "WEB_PORT": str(port),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    demo = subprocess.run([sys.executable, DEMO], env=environment, capture_output=True, text=True, timeout=LONGEST_S)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    home.stop()
    assert look(home.root).since(before) == {}
    assert list((home.root / "volumes").iterdir()) == []
