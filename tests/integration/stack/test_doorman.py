"""The API's socket outlives the engine: a client that connects gets one, or an error that says why there is none."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.conftest import Home
from tests.support.api import Api
from tests.support.project import Project, eventually, kill_and_wait, pid_of

pytestmark = pytest.mark.root

IDLE_S = "0.5"


@pytest.fixture
def briefly():
    """A home whose engine goes as soon as nothing runs and nobody is connected."""
    base = Path(tempfile.mkdtemp(prefix="skiff-", dir="/tmp"))
    home = Home(base / "root", base / "run", {"SKIFF_IDLE_S": IDLE_S})
    yield home
    home.stop()
    shutil.rmtree(base)


def ask(home, path="/skiff/v1/engine"):
    """Ask as a client does that knows nothing of starting engines; return the status and the answer."""
    connection = http.client.HTTPConnection("localhost", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(30)
    connection.sock.connect(str(home.run / "engine.sock"))
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def pids(home):
    status, found = ask(home)
    assert status == 200, found
    return found


def ended(pid):
    """Wait for the end of a process that goes by itself."""
    eventually(lambda: not os.path.exists(f"/proc/{pid}") or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z")


def test_a_client_gets_an_engine_also_after_the_last_one_was_idle(briefly):
    briefly.skiff("engine", "start")
    seen = [pids(briefly)]
    for _ in range(2):
        ended(seen[-1]["engine_pid"])
        seen.append(pids(briefly))
    assert len({one["engine_pid"] for one in seen}) == 3
    assert len({one["doorman_pid"] for one in seen}) == 1


def test_what_a_user_has_stopped_stays_so_when_an_engine_was_idle(briefly, busybox_tar):
    """Policy "always" would start it with dockerd, which does not come and go."""
    briefly.skiff("image", "load", "-i", busybox_tar)
    api = Api(briefly.run / "engine.sock")
    id = api.run("sleep", "1000", name="web", HostConfig={"RestartPolicy": {"Name": "always"}})
    api.ask("POST", f"/containers/{id}/stop?t=0")
    first = pids(briefly)["engine_pid"]
    ended(first)
    assert not api.state(id)["Running"]
    found = pids(briefly)
    assert found["engine_pid"] != first
    assert not api.state(id)["Running"]
    # an engine that is stopped or dies is as dockerd that is restarted
    briefly.skiff("engine", "stop")
    briefly.skiff("engine", "start")
    eventually(lambda: api.state(id)["Running"])


def test_an_idle_doorman_wakes_nobody_and_is_small(briefly):
    briefly.skiff("engine", "start")
    found = pids(briefly)
    ended(found["engine_pid"])
    ended(found["keeper_pid"])
    assert briefly.skiff("engine", "status", check=False).stdout == "the engine does not run\n"
    ended(pids(briefly)["engine_pid"])
    status = Path(f"/proc/{found['doorman_pid']}/status")

    def switches():
        return [line for line in status.read_text().splitlines() if "ctxt_switches" in line]

    eventually(lambda: Path(f"/proc/{found['doorman_pid']}/wchan").read_text() == "do_epoll_wait")
    before = switches()
    time.sleep(3)  # that nothing happens has no event
    assert switches() == before
    rollup = dict(
        line.split(":") for line in Path(f"/proc/{found['doorman_pid']}/smaps_rollup").read_text().splitlines()[1:]
    )
    assert int(rollup["Private_Dirty"].split()[0]) <= 6 << 10


def test_an_engine_that_was_killed_ever_so_often_comes_for_the_next_client(home):
    home.skiff("engine", "start")
    for _ in range(9):
        kill_and_wait(pids(home)["engine_pid"])
    assert ask(home, "/containers/json") == (200, [])


def test_who_connects_to_an_engine_that_cannot_start_is_informed_why_and_the_next_one_has_another_try(briefly):
    briefly.skiff("engine", "start")
    ended(pids(briefly)["engine_pid"])
    directory = briefly.root / "containers"
    directory.rename(briefly.root / "aside")
    directory.touch()
    for _ in range(2):
        status, answer = ask(briefly)
        assert status == 503
        assert answer["message"].startswith("the engine can't be started: ")
        assert str(directory) in answer["message"]
    assert "can't be started" in briefly.skiff("engine", "start", check=False).stderr
    directory.unlink()
    (briefly.root / "aside").rename(directory)
    assert ask(briefly, "/containers/json") == (200, [])


def test_a_doorman_that_dies_is_followed_by_another(briefly, busybox_tar, tmp_path):
    briefly.skiff("image", "load", "-i", busybox_tar)
    project = Project.of(
        briefly, tmp_path, "name: doorman\nservices: {web: {image: busybox, command: sleep infinity}}\n"
    )
    project.skiff("up", "-d")
    pid = project.inspect("web")["State"]["Pid"]
    first = pid_of(briefly, "doorman")
    kill_and_wait(first)
    eventually(lambda: pids(briefly)["doorman_pid"] != first)
    # it knows the container: engine and keeper may go
    found = pids(briefly)
    for one in (found["engine_pid"], found["keeper_pid"]):
        os.kill(one, signal.SIGSTOP)
    for one in (found["engine_pid"], found["keeper_pid"]):
        kill_and_wait(one)
    assert project.inspect("web")["State"]["Pid"] == pid
    assert "may be missing" not in project.skiff("logs").stdout
    project.skiff("down", "-t", "0")
    found = pids(briefly)
    ended(found["engine_pid"])
    assert pids(briefly)["doorman_pid"] == found["doorman_pid"]


def test_a_doorman_that_is_killed_with_the_engine_is_replaced_by_the_keeper(briefly):
    briefly.skiff("engine", "start")
    found = pids(briefly)
    for one in (found["engine_pid"], found["doorman_pid"]):
        kill_and_wait(one)

    def answers():
        try:
            return ask(briefly)[0] == 200
        except OSError:
            return False

    eventually(answers)
    assert pids(briefly)["keeper_pid"] == found["keeper_pid"]


def test_it_goes_with_the_run_directory(briefly):
    briefly.skiff("engine", "start")
    found = pids(briefly)
    ended(found["engine_pid"])
    shutil.rmtree(briefly.run)
    ended(found["doorman_pid"])


def test_an_engine_that_is_stopped_takes_it_along(briefly):
    briefly.skiff("engine", "start")
    found = pids(briefly)
    briefly.skiff("engine", "stop")
    ended(found["doorman_pid"])
    assert not (briefly.run / "engine.sock").exists()


def test_a_socket_that_was_inherited_is_served_and_left_to_who_made_it(briefly):
    briefly.run.mkdir(parents=True)
    path = briefly.run / "engine.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        script = f"import os; os.dup2({listener.fileno()}, 3); os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))"
        command = f"{script}; os.execv({sys.executable!r}, [{sys.executable!r}, '-m', 'runtime.daemon'])"
        for _ in range(2):
            process = subprocess.Popen(
                [sys.executable, "-c", command], env=briefly.env, pass_fds=[3, listener.fileno()], cwd=os.getcwd()
            )
            found = pids(briefly)
            assert found["engine_pid"] == process.pid
            assert process.wait(20) == 0
            ended(found["doorman_pid"])
            assert path.is_socket()
