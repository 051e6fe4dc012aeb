"""Logs as the API gives them: any bytes, by time, to readers of every kind, within limits."""

import random
import select
import socket
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from runtime.client import Client, EngineAddress
from runtime.http.codec import StreamFrames
from tests.support.api import read_all
from tests.support.project import eventually, kill_and_wait, pid_of

pytestmark = pytest.mark.root


def frames(body):
    """Return what each stream of a multiplexed body has."""
    found = {1: b"", 2: b""}
    for stream, data in StreamFrames().feed(body):
        found[stream] += data
    return found


@pytest.fixture
def logs(api):
    """Asks for the logs of a container; returns what each stream has."""

    def ask(id, query=""):
        answer = api.ask("GET", f"/containers/{id}/logs?stdout=1&stderr=1&{query}")
        assert answer.status == 200, answer
        return frames(answer.body)

    return ask


def ended(api, containers, script, **body):
    """Run a shell script to its end; return the container's ID."""
    id = containers("sh", "-c", script, **body)
    api.wait(id)
    return id


@pytest.mark.parametrize("size", [0, 1, 16 << 10, (16 << 10) + 1, (1 << 20) + 1])
def test_any_bytes_come_back_as_they_were_written(api, containers, logs, size):
    random.seed(size)
    data = random.randbytes(size) + b"\xff\xfe\x00\r\n\r progress\r" + b"l" * size + b"no end"
    id = containers("cat", start=False, OpenStdin=True, StdinOnce=True, AttachStdin=True)
    with api.connect() as connection:
        head = f"POST /containers/{id}/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n"
        connection.sendall(head.encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += connection.recv(1)
        assert api.ask("POST", f"/containers/{id}/start").status == 204
        found, left = b"", memoryview(data)
        while left:
            readable, writable, _ = select.select([connection], [connection], [], 20)
            if readable:
                found += connection.recv(1 << 20)
            elif writable:
                left = left[connection.send(left[:4096]) :]
        connection.shutdown(socket.SHUT_WR)
        found += read_all(connection)
    assert frames(found) == {1: data, 2: b""}
    assert logs(id) == {1: data, 2: b""}
    assert logs(id, "follow=1") == {1: data, 2: b""}


def test_a_line_in_pieces_among_those_of_the_other_stream_is_one_line(api, containers, logs):
    script = "printf one; sleep 0.1; echo err >&2; sleep 0.1; printf ' line'; sleep 0.1; echo more >&2; sleep 0.1; echo"
    id = ended(api, containers, script)
    assert logs(id) == {1: b"one line\n", 2: b"err\nmore\n"}
    stamped = logs(id, "timestamps=1")
    assert [line.split(b" ", 1)[1] for line in stamped[1].splitlines()] == [b"one line"]
    times = [line.split(b" ")[0].decode() for line in stamped[2].splitlines()]
    assert logs(id, "tail=2") == {1: b"", 2: b"err\nmore\n"}
    assert logs(id, "tail=3") == {1: b"one line\n", 2: b"err\nmore\n"}
    assert logs(id, f"since={times[0]}") == {1: b"", 2: b"err\nmore\n"}
    assert logs(id, f"until={times[0]}") == {1: b"one", 2: b"err\n"}
    assert logs(id, "tail=0") == {1: b"", 2: b""}


def test_what_a_process_left_without_end_is_not_the_beginning_of_the_next_ones_line(api, containers, logs):
    id = ended(api, containers, "printf half")
    started = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    api.ask("POST", f"/containers/{id}/start")
    api.wait(id)
    assert logs(id) == {1: b"halfhalf", 2: b""}
    assert logs(id, f"since={started}") == {1: b"half", 2: b""}
    assert [line.split(b" ")[1] for line in logs(id, "timestamps=1")[1].splitlines()] == [b"half", b"half"]


def test_a_terminals_output_is_raw_and_can_have_times(api, containers):
    id = ended(api, containers, "echo one; printf two", Tty=True)
    answer = api.ask("GET", f"/containers/{id}/logs?stdout=1")
    assert (answer.body, answer.headers["content-type"]) == (b"one\r\ntwo", "application/vnd.docker.raw-stream")
    stamped = api.ask("GET", f"/containers/{id}/logs?stdout=1&timestamps=1").body
    assert [line.split(b" ")[1] for line in stamped.splitlines()] == [b"one", b"two"]
    assert api.ask("GET", f"/containers/{id}/logs?stdout=1&tail=1").body == b"two"


def test_times_are_read_in_every_way_that_docker_reads_them(api, containers, logs):
    id = ended(api, containers, "echo one; sleep 0.3; echo two")
    second = logs(id, "timestamps=1")[1].splitlines()[1].split(b" ")[0].decode()
    moment = datetime.fromisoformat(second[:19] + "+00:00")
    nanoseconds = second[20:29]
    east = moment.astimezone(timezone(timedelta(hours=5, minutes=30)))
    for text in (
        f"{int(moment.timestamp())}.{nanoseconds}",
        second,
        f"{east:%Y-%m-%dT%H:%M:%S}.{nanoseconds}%2B05:30",
    ):
        assert logs(id, f"since={text}") == {1: b"two\n", 2: b""}
        assert logs(id, f"until={text}") == {1: b"one\ntwo\n", 2: b""}
    assert logs(id, "since=10m")[1] == b"one\ntwo\n"
    assert logs(id, "until=10m")[1] == b""
    assert logs(id, f"since={int(time.time()) + 100}")[1] == b""
    assert logs(id, f"until={int(time.time()) + 100}")[1] == b"one\ntwo\n"
    assert logs(id, "since=0&until=0&tail=all")[1] == b"one\ntwo\n"
    assert api.ask("GET", f"/containers/{id}/logs?stdout=1&since=yesterday").status == 400


def test_following_ends_at_the_given_time_also_when_nothing_is_said(api, containers, logs):
    id = containers("sh", "-c", "echo one; sleep 1000")
    end = time.time() + 1
    assert logs(id, f"follow=1&until={end:.9f}")[1] == b"one\n"
    assert end <= time.time() < end + 10
    assert logs(id, "follow=1&until=1")[1] == b""


def test_following_ends_when_the_container_goes(api, containers):
    id = containers("sh", "-c", "echo one; sleep 1000")
    with api.connect() as connection:
        connection.sendall(f"GET /containers/{id}/logs?stdout=1&follow=1 HTTP/1.0\r\n\r\n".encode())
        found = b""
        while not found.endswith(b"one\n"):
            found += connection.recv(1 << 16)
        api.remove(id)
        assert read_all(connection) == b""
    assert api.ask("GET", f"/containers/{id}/logs?stdout=1").status == 404


def test_details_are_what_the_drivers_options_name(api, containers, logs):
    config = {"Type": "json-file", "Config": {"labels": "tier", "env": "MODE", "tag": "{{.Name}}"}}
    id = ended(
        api,
        containers,
        "echo one; echo two",
        name="detailed",
        Labels={"tier": "web & db", "other": "x"},
        Env=["MODE=fast"],
        HostConfig={"LogConfig": config},
    )
    before = b"MODE=fast,tag=detailed,tier=web+%26+db "
    assert logs(id, "details=1")[1] == before + b"one\n" + before + b"two\n"
    stamped = logs(id, "details=1&timestamps=1")[1].splitlines()
    assert [line.split(b" ", 1)[1] for line in stamped] == [before + b"one", before + b"two"]
    plain = ended(api, containers, "echo one")
    assert logs(plain, "details=1")[1] == b" one\n"


def test_a_reader_that_does_not_read_costs_no_memory(api, containers, shared_home):
    id = containers("sh", "-c", "yes 0123456789 | head -c 200000000; echo done")
    engine = pid_of(shared_home, "engine")
    before = resident_kib(engine)
    lazy = []
    for query in ("follow=1", "follow=1&timestamps=1", "follow=1&tail=10"):
        lazy.append(api.connect())
        lazy[-1].sendall(f"GET /containers/{id}/logs?stdout=1&{query} HTTP/1.1\r\n\r\n".encode())
    try:
        assert api.wait(id) == 0
        assert resident_kib(engine) < before + (24 << 10)
    finally:
        for connection in lazy:
            connection.close()


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def test_a_log_with_limits_keeps_its_end_and_can_be_cut_over_its_files(api, containers, logs, shared_home):
    config = {"Type": "local", "Config": {"max-size": "64k", "max-file": "4", "mode": "non-blocking"}}
    id = ended(api, containers, "seq 1 50000; sleep 0.2; seq 50001 60000", HostConfig={"LogConfig": config})
    directory = shared_home.root / "containers" / id
    sizes = [path.stat().st_size for path in directory.glob("log*.data")]
    assert len(sizes) == 4
    assert max(sizes) <= 64_000 + 4096
    kept = logs(id)[1].split()
    assert kept == [b"%d" % number for number in range(60_001 - len(kept), 60_001)]
    assert len(kept) * 6 > 3 * 64_000
    assert logs(id, "tail=20000")[1].split() == kept[-20_000:]
    stamped = [line.split(b" ") for line in logs(id, "timestamps=1")[1].splitlines()]
    since = dict((text, stamp) for stamp, text in stamped)[b"50001"].decode()
    assert logs(id, f"since={since}")[1].split() == kept[-10_000:]
    shown = api.ask("GET", f"/containers/{id}/json").json
    assert shown["HostConfig"]["LogConfig"] == config
    api.remove(id)
    assert not directory.exists()


def test_a_container_without_a_log_is_heard_by_who_is_attached_and_leaves_no_more_than_a_little(
    api, containers, shared_home
):
    id = containers("seq", "1", "500000", start=False, HostConfig={"LogConfig": {"Type": "none"}})
    with api.connect() as connection:
        connection.sendall(f"POST /containers/{id}/attach?stream=1&stdout=1 HTTP/1.1\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += connection.recv(1)
        assert api.ask("POST", f"/containers/{id}/start").status == 204
        directory = shared_home.root / "containers" / id
        # a client that is slow: all that is kept has been written, and what it has not read yet is held up
        eventually(lambda: sum(path.stat().st_size for path in directory.glob("log*.data")) >= 1 << 20)
        found = read_all(connection)
    assert frames(found)[1].split() == [b"%d" % number for number in range(1, 500_001)]
    assert sum(path.stat().st_size for path in directory.glob("log*")) < 2 << 20
    answer = api.ask("GET", f"/containers/{id}/logs?stdout=1")
    assert (answer.status, answer.message) == (501, "configured logging driver does not support reading")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"Type": "splunk"}, 'error looking up logging plugin splunk: plugin "splunk" not found'),
        ({"Type": "json-file", "Config": {"max-size": "0"}}, "max-size must be a positive number"),
        ({"Type": "json-file", "Config": {"size": "1"}}, "unknown log opt 'size' for json-file log driver"),
    ],
)
def test_what_a_driver_can_not_do_is_refused_when_the_container_is_made(api, config, message):
    answer = api.ask("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"LogConfig": config}})
    assert answer.status == 400
    assert message in answer.message


def test_no_line_of_a_log_with_limits_is_lost_or_doubled_when_the_engine_dies_in_a_flood(home, busybox):
    home.skiff("engine", "start")
    client = Client(EngineAddress(path=str(home.run / "engine.sock")))
    body = {
        "Image": "busybox",
        "Cmd": ["seq", "1", "3000000"],
        "HostConfig": {"LogConfig": {"Config": {"max-size": "1m", "max-file": "2"}}},
    }
    id = client.create_container(body)["Id"]
    client.start(id)
    for _ in range(4):
        kill_and_wait(pid_of(home, "engine"))
        home.skiff("engine", "start")
    eventually(lambda: not client.container(id)["State"]["Running"], 60, "the flood's end")
    with client.logs(id) as stream:
        kept = b"".join(data for _, data in stream.frames()).split()
    assert kept == [b"%d" % number for number in range(3_000_001 - len(kept), 3_000_001)]
    assert len(kept) * 8 > 1_000_000
