"""An engine that goes takes its kernel objects along, and the next one makes them again."""

import pytest

from tests.support.machine import look
from tests.support.project import Project

pytestmark = pytest.mark.root

STACK = """
name: sleeper
services:
  web: {image: busybox, init: true, command: sleep infinity}
"""


def test_a_stopped_engine_leaves_nothing_and_its_networks_come_back(home, busybox, tmp_path):
    home.stop()
    before = look(home.root)
    project = Project.of(home, tmp_path, STACK)
    project.skiff("up", "-d")
    home.stop()
    assert look(home.root).since(before) == {}
    project.skiff("up", "-d")
    assert project.skiff("exec", "-T", "web", "nslookup", "web").returncode == 0
    project.skiff("down", "-t", "1")
