"""Stacks of a user without root: everything that `up` promises, and nothing left behind."""

import itertools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from runtime.linux import netns
from tests.support.project import Project, eventually, kill_and_wait, pid_of
from tests.support.registry import LocalRegistry

pytestmark = [pytest.mark.root, pytest.mark.unprivileged]

NAMES = itertools.count(1)
STACK = """
services:
  web:
    image: busybox
    init: true
    command:
      - sh
      - -c
      - |
        mkdir -p /srv/www; echo "web says $$(nc db 5432 </dev/null)" > /srv/www/index.html
        exec httpd -f -p 80 -h /srv/www
    ports: ["127.0.0.1:0:80"]
    healthcheck: {test: "wget -q -O /dev/null http://127.0.0.1", interval: 1s}
    depends_on: {db: {condition: service_healthy}, cache: {condition: service_started}}
  db:
    image: busybox
    init: true
    command: sh -c 'echo up; while true; do echo rows | nc -l -p 5432; done'
    healthcheck: {test: "grep -q up /proc/1/cmdline", interval: 1s}
    volumes: [rows:/home]
  cache:
    image: busybox
    init: true
    command: sleep infinity
volumes: {rows: {}}
"""


@pytest.fixture
def stack(user_home):
    """Makes projects of the user's, which are taken down behind the test."""
    made = []

    def make(text, **files):
        name = f"own{next(NAMES)}"
        project = Project.of(user_home, user_home.folder(name), f"name: {name}\n" + text, **files)
        project.name = name
        made.append(project)
        return project

    yield make
    for project in made:
        project.skiff("down", "-v", "-t", "0", check=False)


def page(project, service="web", port=80):
    """What a service serves over its published port."""
    where = project.skiff("port", service, str(port)).stdout.strip()
    with urllib.request.urlopen(f"http://{where}/", timeout=20) as answer:
        return answer.read().decode()


def host_pid(project, service):
    return project.inspect(service)["State"]["Pid"]


def test_a_stack_is_reached_from_the_host_and_its_services_find_each_other(stack, user_home):
    project = stack(STACK)
    project.skiff("up", "-d", "--wait")
    assert page(project) == "web says rows\n"
    assert project.containers()["db"][0]["Health"] == "healthy"
    assert "up" in project.skiff("logs", "db").stdout
    found = project.skiff("exec", "-T", "web", "ping", "-c", "1", "cache").stdout
    assert "1 packets received" in found
    assert "sleep infinity" in project.skiff("top", "cache").stdout
    project.skiff("stop", "db")
    assert project.inspect("db")["State"]["ExitCode"] == 128 + signal.SIGTERM
    project.skiff("start", "db")
    project.skiff("down", "-v", "-t", "1")
    assert user_home.get("/containers/json?all=1") == []
    assert user_home.get("/volumes")["Volumes"] == []
    assert list((user_home.root / "volumes").iterdir()) == []
    assert list((user_home.root / "containers").iterdir()) == []
    assert list((user_home.run / "netns").iterdir()) == []


def test_root_inside_is_the_user_and_others_are_its_subordinate_ids(stack, user):
    project = stack(
        """
services:
  one: {image: busybox, command: sleep infinity, init: true}
  two: {image: busybox, command: sleep infinity, user: app}
"""
    )
    project.skiff("up", "-d")
    owners = {service: os.stat(f"/proc/{host_pid(project, service)}").st_uid for service in ("one", "two")}
    assert owners == {"one": user.uid, "two": user.first + 1000 - 1}


def test_published_ports_carry_udp_and_ipv6(stack):
    project = stack(
        "services:\n  one: {image: busybox, command: sleep infinity, init: true, ports: ['0:7/udp', '0:8']}\n"
    )
    project.skiff("up", "-d")
    ask = (("--protocol", "udp", "one", "7"), ("one", "8"))
    udp, tcp = (int(project.skiff("port", *a).stdout.strip().rpartition(":")[2]) for a in ask)
    inside = Path(f"/proc/{host_pid(project, 'one')}/ns/net")
    with netns.inside(inside, lambda: socket.create_server(("0.0.0.0", 8))) as server:
        for address in ("127.0.0.1", "::1"):
            with socket.create_connection((address, tcp), timeout=10) as asker, server.accept()[0] as answerer:
                asker.sendall(b"over tcp")
                assert answerer.recv(64) == b"over tcp"
                answerer.sendall(b"and back")
                assert asker.recv(64) == b"and back"
    with netns.inside(inside, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server:
        server.settimeout(10)
        server.bind(("0.0.0.0", 7))
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family, socket.SOCK_DGRAM) as asker:
                asker.settimeout(10)
                asker.connect((address, udp))
                asker.send(b"over udp")
                data, peer = server.recvfrom(64)
                server.sendto(data, peer)
                assert asker.recv(64) == b"over udp"


def test_a_port_that_is_taken_or_too_low_is_refused_before_anything_starts(stack):
    text = "services:\n  web: {{image: busybox, command: sleep infinity, ports: ['{}:80']}}\n"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = stack(text.format(f"127.0.0.1:{port}")).refused("up", "-d")
        assert f"127.0.0.1:{port}/tcp is already in use by a process of user root" in said
    project = stack(text.format("127.0.0.1:81"))
    said = project.refused("up", "-d")
    assert "port 127.0.0.1:81/tcp can't be bound: Permission denied" in said
    assert "sysctl -w net.ipv4.ip_unprivileged_port_start=81" in said
    assert {container["State"] for c in project.containers().values() for container in c} <= {"created"}


def test_a_limit_that_is_not_delegated_is_left_out_with_a_word_on_it(stack):
    project = stack(
        "services:\n  one: {image: busybox, command: sleep infinity, mem_limit: 50m, cpus: 0.5, oom_score_adj: -5}\n"
    )
    said = project.skiff("up", "-d").stderr
    assert "memory limit" in said
    assert "CPU limits" in said
    assert "OomScoreAdj discarded" in said
    assert "can't be paused: that needs a cgroup" in project.refused("pause")
    project.skiff("commit", "one", "committed")
    project.home.skiff("image", "rm", "committed")


def test_a_volume_takes_what_the_image_has_and_goes_with_files_of_other_owners(stack, user_home, user):
    project = stack(
        """
services:
  db:
    build: .
    command: sh -c 'touch /data/row; chmod 700 /data; exec sleep infinity'
    user: app
    volumes: [data:/data]
volumes: {data: {}}
""",
        Dockerfile="FROM busybox\nRUN mkdir /data && echo first > /data/seed && chown -R app:app /data\n",
    )
    project.skiff("up", "-d")
    data = user_home.root / "volumes" / f"{project.name}_data" / "_data"
    eventually(lambda: (data / "row").exists(), what="the service's file")
    assert {file.name: file.stat().st_uid for file in data.iterdir()} == dict.fromkeys(
        ("seed", "row"), user.first + 1000 - 1
    )
    project.skiff("down", "-t", "0")
    project.skiff("up", "-d")
    assert project.skiff("exec", "-T", "db", "cat", "/data/seed").stdout == "first\n"
    project.skiff("down", "-v", "-t", "0")
    assert not data.parent.exists()


def test_a_directory_of_the_user_is_bound_as_root_s(stack, user):
    project = stack(
        "services:\n  one: {image: busybox, command: sh -c 'stat -c %u /here/compose.yaml && touch /here/made', "
        "volumes: ['.:/here']}\n"
    )
    os.chown(project.folder / "compose.yaml", user.uid, user.gid)
    assert "0" in project.skiff("up").stdout
    assert (project.folder / "made").stat().st_uid == user.uid


def test_a_built_image_hides_files_of_its_base_and_is_saved_with_its_own_ids(user_home, tmp_path):
    context = user_home.folder("context")
    (context / "Dockerfile").write_text(
        "FROM busybox\nRUN rm /etc/group && rm -r /home && mkdir -p /home/new && chown app /home/new\n"
        "RUN test ! -e /etc/group && ls /home > /listed && hostname\n"
    )
    project = Project.of(user_home, context, "name: built\nservices: {made: {image: built, build: .}}\n")
    project.skiff("build")
    shown = project.skiff("run", "--rm", "-T", "made", "sh", "-c", "ls /home; cat /etc/group; stat -c %u /home/new")
    assert shown.stdout.split() == ["new", "1000"]
    archive = user_home.user.home / "built.tar"
    user_home.skiff("image", "save", "-o", archive, "built")
    user_home.skiff("image", "rm", "built")
    user_home.skiff("image", "load", "-i", archive)
    shown = project.skiff("run", "--rm", "-T", "made", "sh", "-c", "ls /home; stat -c %u /home/new")
    assert shown.stdout.split() == ["new", "1000"]
    project.skiff("down")


def test_images_go_to_a_registry_on_the_host_s_loopback_and_come_back(user_home):
    registry = LocalRegistry()
    try:
        name = f"{registry.domain}/busybox:1"
        user_home.skiff("image", "tag", "busybox", name)
        user_home.skiff("image", "push", name)
        user_home.skiff("image", "rm", name)
        user_home.skiff("image", "pull", name)
        user_home.skiff("image", "rm", name)
    finally:
        registry.stop()


def test_an_engine_that_is_killed_comes_back_to_what_runs(stack, user_home):
    project = stack(STACK)
    project.skiff("up", "-d", "--wait")
    before = host_pid(project, "web")
    engine = pid_of(user_home, "engine")
    kill_and_wait(engine)
    assert page(project) == "web says rows\n"
    assert pid_of(user_home, "engine") != engine
    assert host_pid(project, "web") == before


def test_published_ports_are_reached_while_the_engine_is_away(stack, user_home):
    project = stack(STACK)
    project.skiff("up", "-d", "--wait")
    where = project.skiff("port", "web", "80").stdout.strip()
    engine = os.pidfd_open(pid_of(user_home, "engine"))
    try:
        user_home.skiff("engine", "stop")
        assert select.select([engine], [], [], 20)[0]
    finally:
        os.close(engine)
    with urllib.request.urlopen(f"http://{where}/", timeout=20) as answer:
        assert answer.read() == b"web says rows\n"


def outside(home):
    """The process of the user that stays outside of the namespaces."""
    (pid,) = (
        int(line.split()[0])
        for line in home.user.processes()
        if "runtime.rootless" in Path(f"/proc/{line.split()[0]}/cmdline").read_text()
    )
    return pid


def test_engine_and_outside_process_that_are_killed_are_followed_by_others_in_the_same_namespaces(stack, user_home):
    project = stack(STACK)
    project.skiff("up", "-d", "--wait")
    before, first = host_pid(project, "web"), outside(user_home)
    kill_and_wait(first)
    kill_and_wait(pid_of(user_home, "engine"))
    assert page(project) == "web says rows\n"
    assert host_pid(project, "web") == before
    user_home.skiff("engine", "stop")
    assert page(project) == "web says rows\n"
    assert host_pid(project, "web") == before
    assert outside(user_home) != first


@pytest.mark.parametrize(
    ("victims", "lives"),
    [
        (["engine", "keeper"], True),
        (["outside", "engine", "keeper"], True),
        (["engine", "keeper", "doorman"], True),
        (["outside", "engine", "keeper", "doorman"], False),
    ],
    ids=["doorman and outside are left", "doorman is left", "outside is left", "nothing is left"],
)
def test_containers_live_on_as_long_as_anything_has_the_engine_s_namespaces(stack, user_home, victims, lives):
    user_home.stop()  # the next engine has an outside process in any case
    project = stack(STACK)
    project.skiff("up", "-d", "--wait")
    before = host_pid(project, "cache")
    process = os.pidfd_open(before)
    pids = [outside(user_home) if victim == "outside" else pid_of(user_home, victim) for victim in victims]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        kill_and_wait(pid)
    project.skiff("ps")
    if lives:
        assert host_pid(project, "cache") == before
    else:
        assert select.select([process], [], [], 0)[0], "the container's process runs on"
        # until the machine's init has reaped them, nobody knows how they ended, and they count as running
        for service in ("web", "db", "cache"):
            eventually(
                lambda service=service: not project.inspect(service)["State"]["Running"], what=f"the end of {service}"
            )
    os.close(process)
    project.skiff("up", "-d", "--wait")
    assert page(project) == "web says rows\n"


def test_the_docker_client_is_served_and_the_socket_is_the_user_s_alone(user_home):
    client = os.environ.get("SKIFF_TEST_DOCKER") or shutil.which("docker")
    if not client:
        pytest.skip("no docker client: `.ci/docker-cli` provides one")
    socket_file = user_home.run / "engine.sock"
    assert socket_file.stat().st_mode & 0o077 == 0
    assert user_home.root.stat().st_mode & 0o077 == 0
    run = [*user_home.as_user, client, "-H", user_home.host, "run", "--rm", "busybox", "id", "-u"]
    done = subprocess.run(run, capture_output=True, text=True, env=user_home.env, cwd="/", timeout=60)
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert "name=rootless" in user_home.get("/info")["SecurityOptions"]


GIVEN = {
    "network": ("network_mode: host", "test -e /sys/class/net/lo && echo fine", "fine"),
    "processes": ("pid: host", "test -d /proc/1 && ps | grep -q '[h]ttpd\\|init\\|sh' && echo fine", "fine"),
    "memory": ("ipc: host", "test -d /dev/shm && echo fine", "fine"),
    "privileges": ("privileged: true", "mkdir /on && mount -t tmpfs none /on && echo fine", "fine"),
    "device": ("devices: [/dev/null:/dev/mine]", "echo x > /dev/mine && test -c /dev/mine && echo fine", "fine"),
    "terminal": ("tty: true", "tty", "/dev/pts/0"),
    "root": ("read_only: true", "touch /x 2>/dev/null || echo fine", "fine"),
    "setting": ("sysctls: {net.ipv4.ip_forward: 1}", "cat /proc/sys/net/ipv4/ip_forward", "1"),
    "capability": ("cap_add: [NET_ADMIN]", "ip link set lo down && echo fine", "fine"),
}
"""A service of each name: what it is given, what it does with it, and what it then says."""


def test_services_have_what_the_user_may_give(stack):
    text = "services:\n"
    for name, (option, command, _) in GIVEN.items():
        text += f"  {name}:\n    image: busybox\n    {option}\n    command: {json.dumps(['sh', '-c', command])}\n"
    project = stack(text)
    project.skiff("up")
    said = {name: project.skiff("logs", "--no-log-prefix", name).stdout.strip() for name in GIVEN}
    assert said == {name: expected for name, (_, _, expected) in GIVEN.items()}
