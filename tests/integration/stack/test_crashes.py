"""What a killed engine or keeper costs: nothing but the moment."""

import os
import signal

import pytest

from tests.support.project import Project, eventually, kill_and_wait, pid_of
from tests.support.stacks import LEAVER

pytestmark = pytest.mark.root


def test_no_log_line_is_lost_or_doubled_when_the_engine_dies_in_a_flood(home, busybox, tmp_path):
    lines = 300_000
    project = Project.of(
        home,
        tmp_path,
        f"""
        name: flood
        services:
          flood:
            image: busybox
            command: ["seq", "1", "{lines}"]
        """,
    )
    project.skiff("up", "-d")
    for _ in range(4):
        kill_and_wait(pid_of(home, "engine"))
    eventually(lambda: project.inspect("flood")["State"]["Status"] == "exited", 60, "the flood's end")
    logged = project.skiff("logs", "--no-log-prefix", "--no-color").stdout.splitlines()
    assert logged == [str(number) for number in range(1, lines + 1)]
    assert project.inspect("flood")["State"]["ExitCode"] == 0


def test_containers_outlive_the_engine_and_their_exit_codes_are_known(home, busybox, tmp_path):
    project = Project.of(
        home,
        tmp_path,
        f"""
        name: outlive
        services:
          steady: {{image: busybox, init: true, command: sleep infinity}}
          leaver: {LEAVER}
        """,
    )
    project.skiff("up", "-d")
    steady = project.inspect("steady")["State"]["Pid"]
    leaver = project.inspect("leaver")["State"]["Pid"]
    engine = pid_of(home, "engine")
    os.kill(engine, signal.SIGSTOP)
    kill_and_wait(leaver, signal.SIGTERM)
    kill_and_wait(engine)
    assert project.inspect("steady")["State"]["Pid"] == steady
    state = project.inspect("leaver")["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 7)


def test_containers_outlive_the_keeper_and_the_engine_says_what_was_lost(home, busybox, tmp_path):
    project = Project.of(
        home, tmp_path, "services: {web: {image: busybox, init: true, command: sleep infinity}}\nname: keeperless\n"
    )
    project.skiff("up", "-d")
    pid = project.inspect("web")["State"]["Pid"]
    kill_and_wait(pid_of(home, "keeper"))
    eventually(lambda: pid_of(home, "keeper") > 0 and os.path.exists(f"/proc/{pid_of(home, 'keeper')}"))
    assert project.inspect("web")["State"]["Pid"] == pid
    assert project.skiff("exec", "-T", "web", "echo", "alive").stdout == "alive\n"
    assert "keeper" in (home.run / "engine.log").read_text()
    project.skiff("stop", "-t", "1")
    assert project.inspect("web")["State"]["Status"] == "exited"
