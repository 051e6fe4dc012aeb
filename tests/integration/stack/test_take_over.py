"""Engine and keeper killed at once: what runs is taken over by the next engine, as it was."""

import os
import signal
import socket

import pytest

from runtime.linux.pidfd import remembers_exits
from tests.support.project import Project, eventually, kill_and_wait, pid_of
from tests.support.stacks import LEAVER

pytestmark = pytest.mark.root

STACK = (
    """
name: takeover
services:
  counter: {image: busybox, command: ["sh", "-c", "i=0; while :; do i=$$((i+1)); echo $$i; usleep 500; done"]}
  web:
    image: busybox
    command: ["sh", "-c", "echo hello > /page; exec httpd -f -p 80 -h /"]
    ports: ["127.0.0.1::80"]
    healthcheck: {test: ["CMD", "test", "-e", "/page"], interval: 1s}
  screen: {image: busybox, tty: true, command: ["sh", "-c", "trap 'exit 3' HUP; while :; do echo tick; sleep 0.1; done"]}
  always: {image: busybox, init: true, restart: always, command: sleep infinity}
  leaver: """
    + LEAVER
)
KNOWN = 7 if remembers_exits() else 255
"""How `leaver` ended, as far as it is known of a process whose parent was killed."""
LONG_LIVED = ("counter", "web", "screen")


def stop_and_kill(pids, meanwhile=lambda: None):
    """Kill processes at once: stopped first, none of them sees another one's end."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        meanwhile()
    except BaseException:  # else nothing could be taken down behind the test
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        raise
    for pid in pids:
        kill_and_wait(pid)


def page(project):
    """Return what the published port of `web` answers."""
    (port,) = project.inspect("web")["NetworkSettings"]["Ports"]["80/tcp"]
    with socket.create_connection(("127.0.0.1", int(port["HostPort"])), timeout=5) as connection:
        connection.sendall(b"GET /page HTTP/1.0\r\n\r\n")
        return connection.makefile("rb").read().rpartition(b"\r\n")[2]


def numbers(project):
    """Return how many lines `counter` has logged, after a check that each follows the one before."""
    lines = project.skiff("logs", "--no-log-prefix", "--no-color", "counter").stdout.splitlines()
    assert lines == [str(number) for number in range(1, len(lines) + 1)]
    return len(lines)


@pytest.fixture
def project(home, busybox, tmp_path):
    project = Project.of(home, tmp_path, STACK)
    project.skiff("up", "-d")
    yield project
    project.skiff("down", "-t", "0", check=False)


def test_engine_and_keeper_killed_at_once_leave_containers_as_they_are(project):
    home = project.home
    for _ in range(2):
        before = {name: project.inspect(name)["State"]["Pid"] for name in LONG_LIVED}
        always = project.inspect("always")["State"]["Pid"]
        leaver = project.inspect("leaver")["State"]["Pid"]

        def end_two(always=always, leaver=leaver):
            kill_and_wait(leaver, signal.SIGTERM)
            kill_and_wait(always, signal.SIGKILL)

        counted = numbers(project)
        stop_and_kill([pid_of(home, "engine"), pid_of(home, "keeper")], end_two)
        assert {name: project.inspect(name)["State"]["Pid"] for name in LONG_LIVED} == before
        eventually(lambda counted=counted: numbers(project) > counted, what="more lines")
        assert page(project) == b"hello\n"
        assert project.skiff("exec", "-T", "counter", "echo", "here").stdout == "here\n"
        eventually(lambda: project.inspect("web")["State"]["Health"]["Status"] == "healthy")
        assert project.inspect("leaver")["State"]["Status"] == "exited"
        assert project.inspect("leaver")["State"]["ExitCode"] == KNOWN
        eventually(lambda always=always: project.inspect("always")["State"]["Pid"] not in (0, always))
        project.skiff("up", "-d")
    assert "may be missing" not in project.skiff("logs").stdout
    project.skiff("stop", "-t", "1", "web")
    assert project.inspect("web")["State"]["Status"] == "exited"


def test_a_doorman_that_dies_with_them_costs_what_was_printed_since_and_the_log_says_so(project):
    home = project.home
    before = {name: project.inspect(name)["State"]["Pid"] for name in ("web", "leaver")}
    stop_and_kill([pid_of(home, what) for what in ("engine", "keeper", "doorman")])
    assert {name: project.inspect(name)["State"]["Pid"] for name in before} == before
    assert page(project) == b"hello\n"
    assert "skiff: some output before " in project.skiff("logs", "web").stdout
    assert project.skiff("exec", "-T", "web", "echo", "here").stdout == "here\n"
    kill_and_wait(before["leaver"], signal.SIGTERM)
    eventually(lambda: project.inspect("leaver")["State"]["ExitCode"] == KNOWN)


def test_an_exec_of_the_engine_before_ends_with_it(project):
    home = project.home
    process = project.spawn("exec", "-T", "web", "sh", "-c", "echo here; exec sleep 4321")
    assert process.stdout.readline() == b"here\n"
    stop_and_kill([pid_of(home, "engine"), pid_of(home, "keeper")])
    process.communicate(timeout=20)
    assert "4321" not in project.skiff("exec", "-T", "web", "ps").stdout
