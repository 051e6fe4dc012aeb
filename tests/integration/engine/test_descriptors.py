"""How many files an engine and its keeper may have open, and need; what is reported when there are no more."""

import fcntl
import json
import os
import resource
import socket
import struct
import subprocess
import termios
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.api.connection import MOST_DESCRIPTORS
from runtime.client import Client, endpoint
from runtime.errors import EngineError
from tests.support.api import Api
from tests.support.project import eventually, pid_of

pytestmark = pytest.mark.root
SLEEP = {"Image": "busybox:latest", "Cmd": ["sleep", "10000"], "HostConfig": {"NetworkMode": "none"}}


GROUP = 4711
"""Of the devices that fill a bridge."""


def start_engine(home, soft, hard):
    """Start the engine from a shell with these limits of open files."""
    command = ["prlimit", f"--nofile={soft}:{hard}", *map(str, home.command), "engine", "start"]
    subprocess.run(command, env=home.env, check=True, capture_output=True)


def limits_of(pid):
    (line,) = (one for one in Path(f"/proc/{pid}/limits").read_text().splitlines() if one.startswith("Max open files"))
    return [int(number) for number in line.split()[3:5]]


def descriptors(home):
    return sum(len(os.listdir(f"/proc/{pid_of(home, what)}/fd")) for what in ("engine", "keeper"))


def resident_mb(pid):
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


@pytest.fixture
def client(home, busybox_tar):
    def started(soft, hard):
        start_engine(home, soft, hard)
        home.skiff("image", "load", "-i", busybox_tar)
        return Client(endpoint(home.env, None))

    return started


def test_engine_and_keeper_take_the_hard_limit_and_containers_docker_s_own(home, client):
    made = client(200, 5000)
    assert [limits_of(pid_of(home, what)) for what in ("engine", "keeper")] == [[5000, 5000]] * 2
    made.start(made.create_container({**SLEEP, "Cmd": ["sh", "-c", "ulimit -Sn; ulimit -Hn"]}, name="asks")["Id"])
    assert made.wait("asks") == 0
    with made.logs("asks", stdout=1) as stream:
        said = b"".join(data for _, data in stream.frames()).split()
    # Docker's 1,048,576; where not even root may raise limits (CAP_SYS_RESOURCE), as many as the engine may have
    assert said in ([b"1048576"] * 2, [b"5000"] * 2)


def test_an_idle_container_takes_six_descriptors(home, client):
    made = client(1024, 4096)
    made.start(made.create_container(SLEEP, name="first")["Id"])
    before = descriptors(home)
    for number in range(10):
        made.start(made.create_container(SLEEP, name=f"c{number}")["Id"])
    eventually(lambda: descriptors(home) <= before + 6 * 10, what="six descriptors a container")


def test_what_finds_no_descriptors_left_says_so_and_everything_else_goes_on(home, client):
    made = client(256, 256)
    refused = None
    for number in range(100):
        made.create_container(SLEEP, name=f"c{number}")
        try:
            made.start(f"c{number}")
        except EngineError as error:
            refused = error
            break
    assert refused is not None
    assert str(refused) == (
        "the engine has too many open files, the limit is 256\n"
        "    stop something, or start the engine where more are allowed: `ulimit -Hn 1048576` before it starts, "
        "LimitNOFILE=1048576 in its systemd unit"
    )
    assert number > 30
    # those that run still do, and are shown, heard and ended
    assert len(made.json("GET", "/containers/json")) == number
    with made.logs("c0", stdout=1) as stream:
        assert list(stream.frames()) == []
    for name in ("c0", "c1"):
        made.remove(name, force=True)
    made.start(f"c{number}")
    assert "Traceback" not in (home.run / "engine.log").read_text()


def ip(*commands):
    """Run `ip` commands, as many as may be, in one call."""
    subprocess.run(["ip", "-batch", "-"], input="\n".join(commands) + "\n", text=True, check=True, capture_output=True)


def test_a_bridge_that_is_full_says_so(home, client):
    made = client(1024, 4096)
    id = made.create_network({"Name": "full"})["Id"]
    body = {**SLEEP, "HostConfig": {"NetworkMode": "full"}}
    made.start(made.create_container(body, name="first")["Id"])
    bridge = next(link["ifname"] for link in links("bridge") if link["ifname"].removeprefix("br-") in id)
    ports = [f"fp{number}" for number in range(1022)]
    ip(*(command for port in ports for command in filling(port, bridge)))
    try:
        made.create_container(body, name="last")
        with pytest.raises(EngineError) as refused:
            made.start("last")
    finally:
        ip(f"link del group {GROUP}")  # all at once: one by one they take a minute
    what = "the network's bridge has 1,023 containers, the maximum of a Linux bridge"
    assert refused.value.message == f"failed to set up container networking: {what}"
    assert refused.value.hint == "connect some of them to another network"
    made.start("last")


def links(kind):
    said = subprocess.run(["ip", "-json", "link", "show", "type", kind], check=True, capture_output=True, text=True)
    return json.loads(said.stdout)


def filling(port, bridge):
    return f"link add {port} group {GROUP} type veth peer name {port}p", f"link set {port} master {bridge}"


@contextmanager
def many_files():
    """Have room for many descriptors in the test itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def unread(connection):
    """Return how many bytes the other side has not received yet."""
    return struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))[0]


def test_descriptors_that_no_request_takes_are_closed(home, client):
    client(1024, 4096)
    engine = pid_of(home, "engine")
    with Api(home.run / "engine.sock").connect() as sender, open(os.devnull) as sent:
        before = len(os.listdir(f"/proc/{engine}/fd"))
        sender.sendall(b"POST /images/load HTTP/1.1\r\nHost: e\r\nContent-Type: application/x-tar\r\n")
        sender.sendall(b"Content-Length: 1000\r\n\r\n")
        for _ in range(20):
            socket.send_fds(sender, [bytes(10)], [sent.fileno()] * 60)
        eventually(lambda: unread(sender) == 0, what="the engine has received the pieces")
        assert len(os.listdir(f"/proc/{engine}/fd")) <= before + MOST_DESCRIPTORS + 5
    eventually(lambda: len(os.listdir(f"/proc/{engine}/fd")) <= before, what="all of them are closed")


def test_three_thousand_idle_clients_and_twenty_large_unfinished_bodies_cost_little(home, client):
    client(1024, 20_000)
    api = Api(home.run / "engine.sock")
    assert api.ask("GET", "/_ping").status == 200
    engine = pid_of(home, "engine")
    before = resident_mb(engine)
    with many_files() as most:
        if most < 4000:
            pytest.skip(f"this shell may open {most} files: the clients need 3,100")
        clients = [api.connect(timeout=None) for _ in range(3000)]
        try:
            for path, kind in (("/images/load", "x-tar"), ("/build", "x-tar"), ("/containers/create", "json")):
                for _ in range(7):
                    sender = api.connect(timeout=None)
                    clients.append(sender)
                    head = f"POST {path} HTTP/1.1\r\nHost: e\r\nContent-Type: application/{kind}\r\n"
                    sender.settimeout(5)
                    try:
                        sender.sendall(f"{head}Content-Length: {20 << 20}\r\n\r\n".encode() + bytes(10 << 20))
                    except OSError:  # refused already
                        assert path == "/containers/create"
            clients[0].sendall(b"GET /_ping HTTP/1.1\r\nHost: e\r\n\r\n")
            assert clients[0].recv(12) == b"HTTP/1.1 200"
            cost = resident_mb(engine) - before
        finally:
            for one in clients:
                one.close()
    print(f"3,000 idle clients and 21 unfinished bodies: {cost:.1f} MB")
    assert cost <= 60
    assert pid_of(home, "engine") == engine
