"""Clients that go away in the middle of an answer: the engine goes on, with the same process, for everybody else."""

import io
import random
import socket
import tarfile
import threading

import pytest

from tests.support.api import parse, read_all
from tests.support.project import eventually, pid_of

pytestmark = pytest.mark.root
COUNTS = (0, 1, 10, 1000, 5_000, 50_000, 100_000, 300_000)
"""After how many bytes of the answer; more are drawn by chance."""
SEED = 20


def tarred(**files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def request(method, path, body=b""):
    head = f"{method} {path} HTTP/1.1\r\nHost: engine\r\nContent-Type: application/x-tar\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def leave_after(api, sent, count):
    """Send a request, read `count` bytes of what comes, and go away without a word."""
    with api.connect() as connection:
        connection.sendall(sent)
        left = count
        connection.settimeout(0.3)  # endless answers may have less to say
        try:
            while left and (data := connection.recv(left)):
                left -= len(data)
        except TimeoutError:
            return


@pytest.fixture(scope="module")
def talker(api):
    """A container that writes, and reads, for as long as it is let."""
    id = api.run("sh", "-c", "while true; do echo a line of output; done & cat > /dev/null", OpenStdin=True)
    yield id
    api.remove(id)


def exec_request(api, talker):
    made = api.ask("POST", f"/containers/{talker}/exec", {"Cmd": ["yes"], "AttachStdout": True, "AttachStderr": True})
    return request("POST", f"/exec/{made.json['Id']}/start").replace(b"application/x-tar", b"application/json")


def requests(api, talker, archive):
    """The requests with long answers, by name; each made again for each use."""
    context = tarred(Dockerfile=b"FROM busybox\nRUN for i in 1 2 3; do head -c 100000 /dev/urandom | base64; done\n")
    return {
        "export": lambda: request("GET", f"/containers/{talker}/export"),
        "archive": lambda: request("GET", f"/containers/{talker}/archive?path=/bin"),
        "save": lambda: request("GET", "/images/busybox/get"),
        "logs": lambda: request("GET", f"/containers/{talker}/logs?stdout=1&stderr=1&follow=1"),
        "attach": lambda: request("POST", f"/containers/{talker}/attach?stream=1&stdout=1&stderr=1&logs=1&stdin=1"),
        "exec": lambda: exec_request(api, talker),
        "stats": lambda: request("GET", f"/containers/{talker}/stats"),
        "events": lambda: request("GET", "/events?since=1"),
        "wait": lambda: request("POST", f"/containers/{talker}/wait"),
        "build": lambda: request("POST", "/build?t=made&nocache=1", context),
        "load": lambda: request("POST", "/images/load", archive),
        "import": lambda: request("POST", "/images/create?fromSrc=-&repo=imported", tarred(file=b"x" * 100_000)),
        "pull": lambda: request("POST", "/images/create?fromImage=127.0.0.1:1/nothing&tag=1"),
        "push": lambda: request("POST", "/images/busybox/push"),
        "commit": lambda: request("POST", f"/commit?container={talker}&repo=committed"),
        "copy into": lambda: request("PUT", f"/containers/{talker}/archive?path=/tmp", tarred(file=b"x" * 100_000)),
    }


def test_a_client_may_go_away_after_any_byte_of_any_answer(shared_home, api, talker, busybox_tar):
    engine, log = pid_of(shared_home, "engine"), shared_home.run / "engine.log"
    begin = log.stat().st_size
    chance = random.Random(SEED)
    failures = []

    def leave(make):
        try:
            for count in (*COUNTS, *(chance.randrange(200_000) for _ in range(8))):
                leave_after(api, make(), count)
                assert api.ask("GET", "/_ping").body == b"OK"
        except (OSError, AssertionError, IndexError) as error:
            failures.append(error)

    made = requests(api, talker, busybox_tar.read_bytes())
    clients = [threading.Thread(target=leave, args=[make], name=name) for name, make in made.items()]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert not failures
    assert pid_of(shared_home, "engine") == engine
    with open(log) as said:
        said.seek(begin)
        assert "Traceback" not in said.read()
    # nothing of what they asked for goes on without them
    eventually(lambda: api.ask("GET", "/info").json["NEventsListener"] == 0)


@pytest.mark.parametrize("whole", [False, True], ids=["half a body", "a body without its end"])
@pytest.mark.parametrize(
    "path",
    ["/build", "/images/load", "/images/create?fromSrc=-", "/containers/create", "/containers/{}/archive?path=/tmp"],
)
def test_a_client_may_go_away_in_the_middle_of_its_request(shared_home, api, talker, path, whole):
    engine = pid_of(shared_home, "engine")
    sent = request("PUT" if "archive" in path else "POST", path.format(talker), b"x" * 100_000)
    with api.connect() as connection:
        connection.sendall(sent[: -1 if whole else -50_000])
    assert api.ask("GET", "/_ping").body == b"OK"
    assert pid_of(shared_home, "engine") == engine


def test_who_goes_on_gets_the_whole_of_an_answer_while_others_leave_the_same_one(api, talker):
    whole = request("GET", f"/containers/{talker}/archive?path=/bin").replace(b"Host", b"Connection: close\r\nHost")
    with api.connect() as stays:
        stays.sendall(whole)
        for count in (0, 100, 100_000):
            leave_after(api, whole, count)
        found = parse(read_all(stays))
    assert found.status == 200
    with tarfile.open(fileobj=io.BytesIO(found.body)) as archive:
        assert "bin/busybox" in archive.getnames()


def test_one_that_only_ends_its_input_still_gets_its_answer(api, talker):
    with api.connect() as connection:
        connection.sendall(request("GET", f"/containers/{talker}/json").replace(b"Host", b"Connection: close\r\nHost"))
        connection.shutdown(socket.SHUT_WR)
        assert parse(read_all(connection)).status == 200
