"""Ports that nftables can't turn to a container: carried by a process that outlives the engine."""

import os
import select
import signal
import socket
from pathlib import Path

import pytest

from tests.support.project import Project, eventually, kill_and_wait, pid_of

pytestmark = pytest.mark.root

MORE = "ports: ['80'], init: true"
WEB = "echo web > /index.html; exec httpd -f -p 80 -h /"


def forwarders(run):
    """Return the forwarders of a run directory."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if (
            any(word.endswith(b"forwarder/main.py") for word in command)
            and f"{run}/keeper.sock.lock".encode() in command
        ):
            found.append(int(folder.name))
    return found


def fetch(host, port):
    with socket.create_connection((host, port), 5) as made:
        made.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: made.recv(4096), b"")).rpartition(b"\r\n\r\n")[2].decode().strip()


@pytest.fixture
def stack(home, busybox, tmp_path):
    made = []

    def up(text):
        made.append(Project.of(home, tmp_path, text))
        made[-1].skiff("up", "-d")
        return made[-1]

    yield up
    for project in made:
        project.skiff("down", "-v", check=False)


def published(project, service, port="80/tcp"):
    [number] = {int(one["HostPort"]) for one in project.inspect(service)["NetworkSettings"]["Ports"][port]}
    return number


def stopped(home):
    """Stop the engine; what it runs lives on."""
    engine = os.pidfd_open(pid_of(home, "engine"))
    try:
        home.skiff("engine", "stop")
        assert select.select([engine], [], [], 20)[0]
    finally:
        os.close(engine)


def test_ports_stay_published_while_the_engine_is_away(stack, home):
    project = stack(f"services: {{web: {{image: busybox, command: [sh, -c, '{WEB}'], {MORE}}}}}")
    port = published(project, "web")
    eventually(lambda: fetch("::1", port) == "web")
    before = forwarders(home.run)
    assert len(before) == 1
    stopped(home)
    for host in ("127.0.0.1", "::1"):
        assert fetch(host, port) == "web"
    assert project.skiff("ps").returncode == 0  # the next engine
    assert forwarders(home.run) == before
    assert published(project, "web") == port
    for host in ("127.0.0.1", "::1"):
        assert fetch(host, port) == "web"


def test_a_connection_goes_on_when_the_engine_is_killed(stack, home):
    serve = "exec nc -l -p 80 -e cat"
    project = stack(f"services: {{echo: {{image: busybox, command: [sh, -c, '{serve}'], {MORE}}}}}")
    with socket.create_connection(("::1", published(project, "echo")), 5) as made:
        made.sendall(b"one")
        assert made.recv(3) == b"one"
        kill_and_wait(pid_of(home, "engine"))
        made.sendall(b"two")
        assert made.recv(3) == b"two"
        project.skiff("ps")
        made.sendall(b"six")
        assert made.recv(3) == b"six"


def test_a_forwarder_that_was_killed_is_replaced(stack, home):
    project = stack(f"services: {{web: {{image: busybox, command: [sh, -c, '{WEB}'], {MORE}}}}}")
    port = published(project, "web")
    [pid] = forwarders(home.run)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: forwarders(home.run) not in ([], [pid]), what="another forwarder")
    assert fetch("::1", port) == "web"


def test_the_port_of_a_container_that_ended_since_is_free_with_the_next_engine(stack, home):
    project = stack(f"services: {{web: {{image: busybox, command: [sh, -c, '{WEB}'], {MORE}}}}}")
    port, pid = published(project, "web"), project.inspect("web")["State"]["Pid"]
    stopped(home)
    os.kill(pid, signal.SIGKILL)
    project.skiff("ps", "-a")
    with socket.socket(socket.AF_INET6) as one:
        one.bind(("::", port))


def test_the_forwarder_goes_when_nothing_runs(stack, home):
    project = stack(f"services: {{web: {{image: busybox, command: [sh, -c, '{WEB}'], {MORE}}}}}")
    assert len(forwarders(home.run)) == 1
    project.skiff("down")
    home.skiff("engine", "stop")
    eventually(lambda: not forwarders(home.run), what="the end of the forwarder")


def test_the_forwarder_stays_small(stack, home):
    stack(f"services: {{web: {{image: busybox, command: [sh, -c, '{WEB}'], {MORE}}}}}")
    [pid] = forwarders(home.run)
    eventually(lambda: "skiff-ports" in Path(f"/proc/{pid}/comm").read_text())
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    assert int(line.split()[1]) < 12_000
