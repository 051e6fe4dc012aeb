"""Execs whose clients, children or numbers are not what one hopes for."""

import io
import os
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.api import read_all
from tests.support.project import eventually

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def container(api):
    """A running container for all tests here."""
    id = api.run("sleep", "600")
    yield id
    api.remove(id)


@pytest.fixture
def begin(api, container):
    """Starts an exec; returns its ID and the connection that its output comes on."""
    connections = []

    def start(script, **options):
        body = {"Cmd": ["sh", "-c", script], "AttachStdout": True, **options}
        id = api.ask("POST", f"/containers/{container}/exec", body).json["Id"]
        connection = api.connect()
        connections.append(connection)
        head = f"POST /exec/{id}/start HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        connection.sendall(head.encode())
        return id, connection

    yield start
    for connection in connections:
        connection.close()


@pytest.mark.parametrize("child", ["sleep 300", "yes"])
def test_a_process_that_it_leaves_behind_with_its_output_does_not_hold_it_up(api, begin, child):
    id, connection = begin(f"{child} & echo started; exit 4")
    began = time.monotonic()
    assert b"started\n" in read_all(connection)
    assert time.monotonic() - began < 60  # it would be five minutes, or forever
    assert api.ask("GET", f"/exec/{id}/json").json["ExitCode"] == 4


@pytest.mark.parametrize("script", ["echo said", "no-such-program"])
def test_output_comes_once_the_head_is_read(api, begin, script):
    # docker-py reads the head through a buffer, and the rest past it: what came with it would be lost
    id, connection = begin(script)
    eventually(lambda: api.ask("GET", f"/exec/{id}/json").json["ExitCode"] is not None, 20, "the end of the exec")
    assert connection.recv(65536).endswith(b"\r\n\r\n")
    assert len(read_all(connection)) > 8


def test_it_goes_on_when_its_client_goes(api, container, begin):
    id, connection = begin("yes | head -c 5000000; exit 5")
    connection.recv(100)
    connection.close()
    eventually(lambda: api.ask("GET", f"/exec/{id}/json").json["ExitCode"] == 5, 20, "the end of the exec")


def test_those_that_have_ended_hold_nothing_but_their_exit_codes(api, begin):
    engine = api.ask("GET", "/skiff/v1/engine").json["engine_pid"]

    def descriptors():
        return len(os.listdir(f"/proc/{engine}/fd"))

    before = descriptors()
    ended = [begin("exit 6") for _ in range(30)]
    for _, connection in ended:
        read_all(connection)
        connection.close()
    eventually(lambda: descriptors() <= before + 5, 20, "the descriptors closed")
    assert {api.ask("GET", f"/exec/{id}/json").json["ExitCode"] for id, _ in ended} == {6}


@pytest.mark.parametrize("moment", ["at once", "after the head", "in the middle"])
def test_clients_that_vanish_leave_the_engine_well(api, begin, moment):
    for _ in range(15):
        _, connection = begin("yes | head -c 5000000")
        if moment != "at once":
            connection.recv(10)
        if moment == "in the middle":
            connection.recv(1 << 20)
        connection.close()
    assert api.ask("GET", "/_ping").status == 200


def test_builds_loads_and_archives_whose_clients_vanish_leave_the_engine_well(api, container):
    for path in (
        "/images/busybox/get",
        f"/containers/{container}/export",
        f"/containers/{container}/archive?path=/bin",
    ):
        for count in (1, 100_000):
            with api.connect() as connection:
                connection.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
                connection.recv(count)
    dockerfile = b"FROM busybox\nRUN yes | head -c 3000000\n"
    with tarfile.open(fileobj=(context := io.BytesIO()), mode="w") as tar:
        member = tarfile.TarInfo("Dockerfile")
        member.size = len(dockerfile)
        tar.addfile(member, io.BytesIO(dockerfile))
    for _ in range(5):
        with api.connect() as connection:
            head = f"POST /build?nocache=1 HTTP/1.1\r\nContent-Length: {len(context.getvalue())}\r\n\r\n"
            connection.sendall(head.encode() + context.getvalue())
            connection.recv(10)
    assert api.ask("GET", "/_ping").status == 200


def test_many_at_once_are_all_begun(api, container):
    big = ["x" * 20_000 for _ in range(8)]  # so that what is asked of the keeper does not fit its socket at once

    def run(number):
        body = {"Cmd": ["sh", "-c", f"exit {number}", *big]}
        id = api.ask("POST", f"/containers/{container}/exec", body).json["Id"]
        assert api.ask("POST", f"/exec/{id}/start", {"Detach": True}).status == 200
        eventually(lambda: not api.ask("GET", f"/exec/{id}/json").json["Running"], 60, "the end of the exec")
        return api.ask("GET", f"/exec/{id}/json").json["ExitCode"]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(run, range(32))) == list(range(32))


def test_too_many_words_are_refused_as_such(api, container):
    body = {"Cmd": ["true", *["x" * 100_000] * 8]}
    id = api.ask("POST", f"/containers/{container}/exec", body).json["Id"]
    answer = api.ask("POST", f"/exec/{id}/start", {"Detach": True})
    assert answer.status == 400
    assert answer.message.startswith("OCI runtime exec failed: ")
    assert answer.message.endswith("argument list too long")
    assert api.ask("GET", f"/exec/{id}/json").json["ExitCode"] == 126


def test_two_that_type_into_one_process_take_turns(api):
    id = api.run("sh", "-c", "sleep 1; wc -c", OpenStdin=True, StdinOnce=False)
    clients = [api.connect() for _ in range(2)]
    for client in clients:
        client.sendall(f"POST /containers/{id}/attach?stream=1&stdin=1 HTTP/1.1\r\n\r\n".encode())
        client.recv(4096)
    # more than its pipe holds while it does not read
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda client: client.sendall(b"x" * 300_000), clients))
    assert api.state(id)["Running"]
    for client in clients:
        client.close()
    api.remove(id)
