"""One engine for one state root, whatever run directories are named."""

import json
import subprocess
import sys

import pytest

from runtime.paths import Paths
from tests.conftest import Home
from tests.support.api import Api
from tests.support.project import kill_and_wait

pytestmark = pytest.mark.root


@pytest.fixture
def second(home):
    """The same root with another run directory."""
    found = Home(home.root, home.root.parent / "second")
    yield found
    found.stop()


def test_who_names_another_run_directory_talks_to_the_engine_that_has_the_root(home, busybox, second):
    id = Api(home.run / "engine.sock").run("sleep", "1000", name="web")
    first = home.get("/skiff/v1/engine")["engine_pid"]
    assert json.loads(second.skiff("engine", "start").stdout)["engine_pid"] == first
    assert "web" in second.skiff("ls", "-a").stdout or Api(home.run / "engine.sock").state(id)["Running"]
    assert not (second.run / "engine.sock").exists()
    link = home.root.parent / "link"
    link.symlink_to(home.root)
    by_link = Home(link, second.run)
    assert f"engine_pid: {first}\n" in by_link.skiff("engine", "status").stdout
    by_link.skiff("engine", "stop")
    assert second.skiff("engine", "status", check=False).stdout == "the engine does not run\n"
    # names in the kernel are made of the root: an engine that comes by a link has the same
    assert Paths.from_environment(by_link.env, 0).engine_id == Paths.from_environment(home.env, 0).engine_id


def test_an_engine_that_is_started_by_hand_on_a_root_in_use_says_who_has_it(home, busybox, second):
    id = Api(home.run / "engine.sock").run("sleep", "1000", name="web")
    done = subprocess.run(
        [sys.executable, "-m", "runtime.daemon"],
        env=second.env,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert f"{home.root} is served by another engine, at {home.run / 'engine.sock'}" in done.stderr
    assert f"skiff -H unix://{home.run / 'engine.sock'}" in done.stderr
    assert Api(home.run / "engine.sock").state(id)["Running"]


def test_containers_that_run_keep_the_root_at_its_run_directory(home, busybox, second):
    """The engine is gone, its keeper and a container are there: the next engine is started where they are."""
    api = Api(home.run / "engine.sock")
    id = api.run("sleep", "1000", name="web")
    pid = api.state(id)["Pid"]
    home.skiff("engine", "stop")
    started = json.loads(second.skiff("engine", "start").stdout)
    assert started["run"] == str(home.run)
    assert api.state(id)["Pid"] == pid


def test_a_lock_that_a_killed_engine_left_is_no_obstacle(home, second):
    found = home.get("/skiff/v1/engine")
    for pid in (found["keeper_pid"], found["engine_pid"]):
        kill_and_wait(pid)
    assert json.loads(second.skiff("engine", "start").stdout)["run"] == str(second.run)
