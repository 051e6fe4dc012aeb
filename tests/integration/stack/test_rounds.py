"""Stacks that come and go leave the machine as it was."""

import threading

import pytest

from tests.conftest import Home
from tests.support.machine import look
from tests.support.project import Project
from tests.support.stacks import web_and_db

pytestmark = pytest.mark.root


def test_twenty_rounds_leave_no_residue(home, busybox, tmp_path):
    project = Project.of(home, tmp_path, web_and_db("rounds"))
    home.stop()
    before = look(home.root)
    for _ in range(20):
        project.skiff("up", "-d")
        project.skiff("down", "-v", "-t", "2")
    home.stop()
    assert look(home.root).since(before) == {}
    assert list(home.root.joinpath("containers").iterdir()) == []
    assert list(home.root.joinpath("volumes").iterdir()) == []


def test_two_projects_live_side_by_side(home, busybox, tmp_path):
    one = Project.of(home, tmp_path / "one", web_and_db("one"))
    two = Project.of(home, tmp_path / "two", web_and_db("two"))
    threads = [threading.Thread(target=project.skiff, args=("up", "-d")) for project in (one, two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one.skiff("down", "-v", "-t", "2")
    assert one.containers() == {}
    assert sorted(two.containers()) == ["db", "web"]
    two.skiff("exec", "-T", "web", "nslookup", "db")
    two.skiff("down", "-v", "-t", "2")


def test_two_engines_with_their_own_roots_do_not_meet(home, busybox, busybox_tar, tmp_path, tmp_path_factory):
    base = tmp_path_factory.mktemp("e")
    other = Home(base / "root", base / "run")
    try:
        other.skiff("image", "load", "-i", busybox_tar)
        projects = [Project.of(h, tmp_path / h.root.parent.name, web_and_db("same")) for h in (home, other)]
        for project in projects:
            project.skiff("up", "-d")
        projects[0].skiff("down", "-v", "-t", "2")
        home.stop()
        assert {name: found[0]["State"] for name, found in projects[1].containers().items()} == {
            "db": "running",
            "web": "running",
        }
        projects[1].skiff("exec", "-T", "web", "nslookup", "db")
    finally:
        other.stop()
