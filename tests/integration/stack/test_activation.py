"""An engine whose socket is somebody else's, as systemd's: who starts engines then, and which errors clients get."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest

from tests.support.project import Project, eventually

pytestmark = pytest.mark.root

STACK = """
name: kept
services:
  web: {image: busybox, command: sleep infinity, init: true, restart: always}
  asked:
    image: busybox
    command: ["sh", "-c", "trap 'echo asked >>/data/ends; exit 0' QUIT; echo set; while true; do sleep 1 & wait; done"]
    stop_signal: SIGQUIT
    restart: unless-stopped
    volumes: [data:/data]
  stopped: {image: busybox, command: sleep infinity, init: true, restart: unless-stopped}
  once: {image: busybox, command: sleep infinity, init: true}
volumes: {data: {}}
"""
START = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, "-m", "runtime.daemon"])
"""


@contextmanager
def manager(home):
    """Make the socket, as systemd does; yields what starts an engine for it, and returns its process once it is ready."""
    home.run.mkdir(parents=True, exist_ok=True)
    path, notify = home.run / "engine.sock", home.run / "notify"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        listener.bind(str(path))
        listener.listen()
        told.bind(str(notify))
        told.settimeout(60)

        def start(*, is_awaited=True, **environment):
            process = subprocess.Popen(
                [sys.executable, "-c", START, str(listener.fileno())],
                env={**home.env, "NOTIFY_SOCKET": str(notify), **environment},
                pass_fds=[listener.fileno()],
                cwd="/",
            )
            if is_awaited:
                assert told.recv(100) == b"READY=1"
            return process

        yield start
        notify.unlink()
    path.unlink()
    home.skiff("engine", "start")  # for the end of the test, which has one stopped with all that runs


def ask(home, method, path):
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(60)
    connection.sock.connect(str(home.run / "engine.sock"))
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.fixture
def kept(home, busybox, tmp_path):
    """The stack above, which runs under an engine that was started by hand."""
    project = Project.of(home, tmp_path, STACK)
    project.name = "kept"
    project.skiff("up", "-d")
    eventually(lambda: "set" in project.skiff("logs", "asked").stdout)
    return project


def pid_of_web(home):
    status, found = ask(home, "GET", "/containers/kept-web-1/json")
    assert status == 200, found
    return found["State"]["Pid"]


def test_an_engine_that_ran_by_hand_is_replaced_and_its_containers_run_on(home, kept):
    before, pid = ask(home, "GET", "/skiff/v1/engine")[1], pid_of_web(home)
    with manager(home) as start:
        process = start()
        found = ask(home, "GET", "/skiff/v1/engine")[1]
        assert (found["engine_pid"], found["keeper_pid"]) == (process.pid, before["keeper_pid"])
        assert pid_of_web(home) == pid
        assert (home.run / "engine.sock").is_socket()  # the earlier doorman has left what is not its own
        process.terminate()
        assert process.wait(30) == 0
        assert os.path.exists(f"/proc/{pid}")


def test_only_who_has_the_socket_starts_the_next_engine(home, kept):
    pid = pid_of_web(home)
    with manager(home) as start:
        first = start()
        first.kill()
        assert first.wait(30) == -signal.SIGKILL
        second = start()  # one that keeper or doorman had started would have been asked to stop, and be another's child
        assert ask(home, "GET", "/skiff/v1/engine")[1]["engine_pid"] == second.pid
        assert "starting it again" not in (home.run / "engine.log").read_text()
        assert pid_of_web(home) == pid
        second.terminate()
        assert second.wait(30) == 0


def test_containers_end_with_the_machine_as_they_want_to_and_are_back_with_the_next_engine(home, kept):
    kept.skiff("stop", "stopped")
    assert ask(home, "POST", "/skiff/v1/engine/stop?shutdown=1")[0] == 200
    eventually(lambda: "engine does not run" in home.skiff("engine", "status", check=False).stdout)
    assert (home.root / "volumes/kept_data/_data/ends").read_text() == "asked\n"
    kept.skiff("ps")
    assert kept.states() == {
        "kept-web-1": "running",
        "kept-asked-1": "running",
        "kept-stopped-1": "exited",
        "kept-once-1": "exited",
    }
    assert kept.inspect("once")["State"]["ExitCode"] == 143


LATE = """
name: late
services:
  app:
    image: busybox
    command: sleep infinity
    init: true
    restart: always
    volumes: [{type: bind, source: ./disk, target: /disk, bind: {create_host_path: false}}]
"""


def test_what_comes_a_moment_after_the_engine_is_waited_for(home, busybox, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    project = Project.of(home, tmp_path, LATE)
    project.skiff("up", "-d")
    assert ask(home, "POST", "/skiff/v1/engine/stop?shutdown=1")[0] == 200
    eventually(lambda: "engine does not run" in home.skiff("engine", "status", check=False).stdout)
    disk.rename(tmp_path / "away")
    eventually(lambda: project.states() == {"late-app-1": "restarting"}, what="an attempt")
    assert "disk" in project.inspect("app")["State"]["Error"]
    (tmp_path / "away").rename(disk)
    eventually(lambda: project.states() == {"late-app-1": "running"}, what="the container")
    assert project.inspect("app")["State"]["Error"] == ""


def test_a_client_that_waits_for_an_engine_that_cannot_start_is_informed_why(home):
    with manager(home) as start:
        home.root.parent.mkdir(exist_ok=True)
        home.root.write_text("a file")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(home.run / "engine.sock"))
            client.sendall(b"GET /_ping HTTP/1.1\r\nHost: skiff\r\n\r\n")
            process = start(is_awaited=False)
            answer = client.makefile("rb").read().decode()
        assert process.wait(30) == 1
        home.root.unlink()
    assert answer.startswith("HTTP/1.1 503 ")
    assert f"the engine can't be started: {home.root}" in json.loads(answer.partition("\r\n\r\n")[2])["message"]
