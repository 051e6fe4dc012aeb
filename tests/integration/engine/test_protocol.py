"""What the server makes of requests that are wrong, broken off, or many."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime

import pytest

from runtime.client import Client, blocking, endpoint
from tests.support.api import parse, read_all

pytestmark = pytest.mark.root


def ping(api):
    return api.ask("GET", "/_ping").status


def test_ping_identifies_the_server(api):
    for method in ("GET", "HEAD"):
        answer = api.ask(method, "/_ping")
        assert answer.status == 200
        assert answer.headers["api-version"] == "1.56"
        assert answer.headers["docker-experimental"] == "false"
        assert answer.headers["ostype"] == "linux"
        assert answer.headers["builder-version"] == "2"
        assert answer.headers["swarm"] == "inactive"
        assert answer.headers["server"].startswith("Skiff")


@pytest.mark.parametrize("version", ["1.24", "1.30", "1.44", "1.50", "1.56"])
def test_every_version_in_the_range_is_served(api, version):
    assert api.ask("GET", f"/v{version}/info").status == 200


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (
            "1.23",
            "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer "
            "version",
        ),
        ("1.57", "client version 1.57 is too new. Maximum supported API version is 1.56"),
        ("2.0", "client version 2.0 is too new. Maximum supported API version is 1.56"),
    ],
)
def test_versions_outside_are_refused_in_dockers_words(api, version, message):
    answer = api.ask("GET", f"/v{version}/info")
    assert (answer.status, answer.message) == (400, message)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x00\x01\r\n\r\n", 400),
        (b"GET /_ping HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET http://[ HTTP/1.1\r\n\r\n", 400),
        (b"POST /containers/create HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /containers/create HTTP/1.1\r\nContent-Length: \xb2\r\n\r\n", 400),
        (b"POST /containers/create HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST /containers/create HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", 400),
        (b"GET /_ping HTTP/1.1\r\nHost : engine\r\n\r\n", 400),
        (b"GET /_ping HTTP/1.1\r\nA: b\r\n folded: c\r\n\r\n", 400),
        (b"GET /_ping\r\n\r\n", 400),
        (b"GET /_ping HTTP/1.1\r\nX: " + b"a" * 300_000 + b"\r\n\r\n", 431),
    ],
)
def test_bytes_that_are_no_request_are_answered_and_the_connection_closed(api, data, status):
    assert parse(api.exchange(data, half_close=True)).status == status
    assert ping(api) == 200


@pytest.mark.parametrize("target", ["//version", "/v1.44//version?x", "http://engine/v1.50/version"])
def test_a_target_may_have_slashes_too_many_or_name_the_engine(api, target):
    assert api.ask("GET", target).status == 200


def test_answers_have_a_date(api):
    assert parsedate_to_datetime(api.ask("GET", "/_ping").headers["date"]).timestamp() == pytest.approx(
        time.time(), abs=60
    )


def test_who_sends_too_much_gets_an_error(api):
    answer = api.ask("POST", "/containers/create", b" " * (40 << 20))
    assert answer.status == 413
    assert answer.message.startswith(
        "the request's body is too large: it has 41,943,040 bytes, and the limit of a document is "
    )


def test_the_names_of_members_are_found_whatever_their_case(api, containers):
    id = containers("true", start=False, hostconfig={"memory": 32 << 20})
    assert api.ask("GET", f"/containers/{id}/json").json["HostConfig"]["Memory"] == 32 << 20


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "invalid JSON: got EOF while reading request body"),
        (b"null", "config cannot be empty in order to create a container"),
        (b'{"HostConfig": {}}', "config cannot be empty in order to create a container"),
        (b'{"Cmd": ["true"]}', "no image specified"),
        (b"{", "invalid JSON: "),
        (b"[]", "invalid JSON: the body must be an object, not an array"),
        (b"[" * 100_000, "invalid JSON: "),
        (b'{"Image": 5}', "invalid JSON: Image must be a string, not a number"),
        (b'{"Image": "busybox", "HostConfig": {"Memory": "1g"}}', "invalid JSON: HostConfig.Memory must be a whole"),
        (b'{"Image": "busybox", "HostConfig": {"Binds": ["a:b"]}}', "mount path must be absolute"),
        (b'{"Image": "busybox", "HostConfig": {"NetworkMode": "container:"}}', "invalid container network mode"),
    ],
)
def test_a_body_that_cannot_be_is_a_bad_request(api, body, message):
    answer = api.ask("POST", "/containers/create", body)
    assert answer.status == 400
    assert message in answer.message


def test_another_content_type_is_refused(api):
    answer = api.ask("POST", "/containers/create", b"{}", Content_Type="text/plain")
    assert (answer.status, answer.message) == (
        400,
        "unsupported Content-Type header (text/plain): must be 'application/json'",
    )


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("PUT", "/info", 404),
        ("GET", "/containers/none/json", 404),
        ("GET", "/containers/none/stats", 404),
        ("GET", "/containers/none/logs?stdout=1", 404),
        ("GET", "/containers/%00/json", 404),
        ("POST", "/containers/none/wait?condition=dance", 400),
        ("GET", "/containers/json?limit=x", 400),
        ("GET", "/containers/json?filters={", 400),
        ("GET", '/containers/json?filters={"colour":["red"]}', 400),
        ("GET", '/containers/json?filters={"status":["bored"]}', 400),
        ("GET", '/images/json?filters={"colour":["red"]}', 400),
        ("POST", '/images/prune?filters={"colour":["red"]}', 400),
        ("GET", '/networks?filters={"colour":["red"]}', 400),
        ("GET", '/volumes?filters={"colour":["red"]}', 400),
        ("GET", "/events?since=yesterday", 400),
        ("GET", "/system/df?type=floppy", 400),
        ("GET", "/exec/none/json", 404),
        ("POST", "/exec/none/start", 404),
        ("POST", "/commit?container=none", 404),
        ("POST", "/images/create?fromSrc=http://x/", 400),
        ("GET", "/images/search?term=x", 501),
        ("GET", "/swarm", 503),
        ("GET", "/services", 503),
        ("PUT", "/volumes/none", 503),
        ("GET", "/plugins", 200),
    ],
)
def test_wrong_requests_have_dockers_status(api, method, path, status):
    assert api.ask(method, path).status == status


def test_several_requests_may_follow_each_other_on_a_connection(api):
    one = b"GET /_ping HTTP/1.1\r\n\r\n"
    broken = b'POST /containers/create HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n{"Imag\r\n0\r\n\r\n'
    answers = api.exchange(one + broken + one, half_close=True)
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", b"400", b"200"]


def test_who_waits_to_be_asked_for_a_body_is_not_asked_after_the_answer(api):
    head = b"PUT /containers/none/archive?path=/ HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 99\r\n\r\n"
    answer = api.exchange(head)
    assert parse(answer).status == 404
    assert b"100 Continue" not in answer


def test_a_client_of_http_1_0_reads_a_stream_to_the_end_of_the_connection(api, containers):
    id = containers("echo", "out", Tty=True)
    api.wait(id)
    answer = parse(api.exchange(f"GET /containers/{id}/logs?stdout=1 HTTP/1.0\r\n\r\n".encode()))
    assert "transfer-encoding" not in answer.headers
    assert answer.body == b"out\r\n"


def test_a_hundred_connections_at_once_are_all_served(api):
    idle = [api.connect() for _ in range(100)]
    try:
        with ThreadPoolExecutor(100) as pool:
            assert list(pool.map(lambda _: api.ask("GET", "/info").status, range(100))) == [200] * 100
    finally:
        for connection in idle:
            connection.close()


def test_clients_that_vanish_in_the_middle_of_anything_leave_the_engine_well(api, containers):
    id = containers("sh", "-c", "while :; do echo 0123456789012345678901234567890123456789; done")
    requests = [
        f"GET /containers/{id}/logs?stdout=1&follow=1 HTTP/1.1\r\n\r\n",
        f"GET /containers/{id}/stats HTTP/1.1\r\n\r\n",
        f"POST /containers/{id}/attach?stream=1&stdout=1 HTTP/1.1\r\n\r\n",
        f"POST /containers/{id}/wait HTTP/1.1\r\n\r\n",
        "GET /events HTTP/1.1\r\n\r\n",
        f"GET /containers/{id}/export HTTP/1.1\r\n\r\n",
        f"PUT /containers/{id}/archive?path=/ HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nxxx",
        "POST /build HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n400\r\nxxx",
        "POST /images/load HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n400\r\nxxx",
        "POST /containers/create HTTP/1.1\r\nContent-Length: 100\r\n\r\n{",
        "GET /_ping HTT",
    ]
    for request in requests * 3:
        with api.connect() as connection:
            connection.sendall(request.encode())
            if not request.startswith(("PUT", "POST /build", "POST /images", "POST /containers/create", "GET /_ping")):
                connection.recv(100)
    assert ping(api) == 200
    assert api.state(id)["Running"]


def test_a_reader_that_does_not_read_holds_up_nobody(api, containers):
    id = containers("sh", "-c", "yes 0123456789 | head -c 40000000; echo; echo done")
    lazy = []
    for path in (
        f"/containers/{id}/logs?stdout=1&follow=1",
        "/events",
        f"/containers/{id}/attach?stream=1&stdout=1&logs=1",
    ):
        connection = api.connect()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        method = "POST" if "attach" in path else "GET"
        connection.sendall(f"{method} {path} HTTP/1.1\r\n\r\n".encode())
        lazy.append(connection)
    try:
        assert api.wait(id) == 0
        found = api.ask("GET", f"/containers/{id}/logs?stdout=1&tail=1").body
        assert found.endswith(b"done\n")
    finally:
        for connection in lazy:
            connection.close()


def test_what_is_typed_before_and_after_a_half_close_arrives(api, containers):
    id = containers("cat", start=False, OpenStdin=True, StdinOnce=True, AttachStdin=True)
    with api.connect() as connection:
        head = f"POST /containers/{id}/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n"
        connection.sendall(head.encode() + b"early ")
        assert connection.recv(4096).startswith(b"HTTP/1.1 101 ")
        assert api.ask("POST", f"/containers/{id}/start").status == 204
        connection.sendall(b"late")
        connection.shutdown(socket.SHUT_WR)
        data = read_all(connection)
    assert data.replace(b"\x01\0\0\0\0\0\0\x06", b"").replace(b"\x01\0\0\0\0\0\0\x04", b"")[-4:] == b"late"
    assert b"early " in data
    assert api.wait(id) == 0


def test_the_detach_keys_end_an_attachment_and_nothing_else(api, containers):
    id = containers("cat", OpenStdin=True, Tty=True)
    with api.connect() as connection:
        connection.sendall(f"POST /containers/{id}/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\n\r\n".encode())
        connection.recv(4096)
        connection.sendall(b"\x10")
        connection.sendall(b"\x11")
        assert read_all(connection) == b""
    assert api.state(id)["Running"]
    answer = api.ask("POST", f"/containers/{id}/attach?detachKeys=ctrl-nothing")
    assert answer.status == 400


def test_a_resize_waits_for_the_exec_that_is_being_started(api, containers):
    id = containers("sleep", "60")
    wanted = {"Cmd": ["sh", "-c", "read x; stty size"], "Tty": True, "AttachStdin": True}
    exec_id = api.ask("POST", f"/containers/{id}/exec", wanted).json["Id"]
    answers = []
    sizer = threading.Thread(target=lambda: answers.append(api.ask("POST", f"/exec/{exec_id}/resize?h=33&w=99").status))
    sizer.start()
    with api.connect() as connection:
        head = f"POST /exec/{exec_id}/start HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        connection.sendall(head.encode())
        sizer.join(20)
        connection.sendall(b"\n")
        assert b"33 99" in read_all(connection)
    assert answers == [200]
    assert api.ask("GET", f"/exec/{exec_id}/json").json["ExitCode"] == 0


def test_events_report_a_life_in_order(api):
    connection, stream = api.events(type=["container", "network"], label=["life"])
    with connection:
        id = api.run("true", Labels={"life": "1"})
        api.wait(id)
        api.remove(id)
        told = [json.loads(stream.readline())["Action"] for _ in range(4)]
    assert told == ["create", "start", "die", "destroy"]


@pytest.mark.parametrize("is_stream", [False, True], ids=["request", "stream"])
def test_our_client_asks_again_for_the_version_that_an_older_engine_has(shared_home, monkeypatch, is_stream):
    monkeypatch.setattr(blocking, "VERSION", "v9.99")
    client = Client(endpoint(shared_home.env, None))
    if is_stream:
        with client.stream("GET", "/events", {"since": "0", "until": "1"}) as stream:
            assert list(stream.documents()) == []
    assert client.version()["ApiVersion"] in client._version
    assert client.info()["OSType"] == "linux"
