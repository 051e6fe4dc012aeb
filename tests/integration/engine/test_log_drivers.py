"""Output that is sent to real listeners, and what happens when they are absent, go away or do not read."""

import contextlib
import json
import re
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.certificates import Authority

pytestmark = pytest.mark.root

JOURNAL = Path("/run/systemd/journal/socket")
SCRIPT = ("sh", "-c", "echo one; echo two >&2")
PATIENCE_S = 20


def config(driver, **options):
    """A HostConfig with a log driver and its options."""
    options = {name.replace("_", "-"): value for name, value in options.items()}
    return {"LogConfig": {"Type": driver, "Config": options}}


def received(listener, *wanted):
    """Read datagrams or connections of `listener` until all of `wanted` came; return everything."""
    if listener.type == socket.SOCK_STREAM:
        listener.settimeout(PATIENCE_S)
        listener, _ = listener.accept()
    listener.settimeout(PATIENCE_S)
    found = b""
    while not all(one in found for one in wanted):
        data = listener.recv(1 << 16)
        assert data, found
        found += data
    return found


@pytest.fixture
def bound():
    """Binds sockets and closes them at the end."""
    made = []

    def bind(kind, address="127.0.0.1"):
        one = socket.socket(socket.AF_INET if isinstance(address, str) else socket.AF_UNIX, kind)
        made.append(one)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((address, 0) if isinstance(address, str) else str(address))
        if kind == socket.SOCK_STREAM:
            one.listen()
        return one, one.getsockname()[1]

    yield bind
    for one in made:
        one.close()


def test_each_driver_sends_and_the_log_can_still_be_read(api, containers, bound, tmp_path):
    by_udp, udp = bound(socket.SOCK_DGRAM)
    by_tcp, tcp = bound(socket.SOCK_STREAM)
    forward, fluent = bound(socket.SOCK_STREAM)
    local, _ = bound(socket.SOCK_DGRAM, tmp_path / "log")
    for host, listener, wanted in (
        (config("syslog", syslog_address=f"udp://127.0.0.1:{udp}"), by_udp, (b"<30>", b"]: one\n", b"<27>", b"]: two\n")),
        (config("syslog", syslog_address=f"unixgram://{tmp_path}/log", mode="non-blocking"), local, (b"]: one\n", b"]: two\n")),
        (config("gelf", gelf_address=f"tcp://127.0.0.1:{tcp}"), by_tcp, (b'"short_message":"one"', b'"short_message":"two"')),
        (config("fluentd", fluentd_address=f"127.0.0.1:{fluent}", cache_disabled="true"), forward, (b"\xa3one", b"\xa3two")),
    ):  # fmt: skip
        id = containers(*SCRIPT, HostConfig=host)
        received(listener, *wanted)
        api.wait(id)
        answer = api.ask("GET", f"/containers/{id}/logs?stdout=1&stderr=1")
        is_hidden = "cache-disabled" in host["LogConfig"]["Config"]
        assert (answer.status, b"one\n" in answer.body) == ((501, False) if is_hidden else (200, True))
        assert api.ask("GET", f"/containers/{id}/json").json["LogPath"] == ""


@pytest.mark.skipif(JOURNAL.exists(), reason="journald runs here, and its socket is the one that is sent to")
def test_journald_gets_fields_over_its_socket(api, containers, bound):
    made = [parent for parent in (JOURNAL.parent.parent, JOURNAL.parent) if not parent.exists()]
    JOURNAL.parent.mkdir(parents=True, exist_ok=True)
    try:
        listener, _ = bound(socket.SOCK_DGRAM, JOURNAL)
        containers(*SCRIPT, name="journaled", HostConfig=config("journald", tag="{{.Name}}"))
        assert b"PRIORITY=6\nMESSAGE=one\n" in received(
            listener, b"MESSAGE=one", b"MESSAGE=two", b"SYSLOG_IDENTIFIER=journaled"
        )
    finally:
        JOURNAL.unlink()
        for parent in reversed(made):
            parent.rmdir()


def test_a_container_does_not_start_while_nobody_listens(api, containers, bound):
    listener, port = bound(socket.SOCK_STREAM)
    listener.close()
    begin = "failed to create task for container: failed to initialize logging driver: "
    refused = f"dial tcp 127.0.0.1:{port}: connect: connection refused"
    for host, message in (
        (config("fluentd", fluentd_address=f"127.0.0.1:{port}"), refused),
        (
            config("gelf", gelf_address=f"tcp://127.0.0.1:{port}"),
            f"gelf: cannot connect to GELF endpoint: 127.0.0.1:{port} {refused}",
        ),
        (config("syslog", syslog_address=f"tcp://127.0.0.1:{port}"), refused),
    ):  # fmt: skip
        answer = api.ask("POST", f"/containers/{containers(*SCRIPT, start=False, HostConfig=host)}/start")
        assert (answer.status, answer.message) == (500, begin + message)
    host = config("fluentd", fluentd_address=f"127.0.0.1:{port}", fluentd_async="true")
    assert api.wait(containers(*SCRIPT, HostConfig=host)) == 0


def test_what_was_written_while_the_receiver_was_away_comes_later(api, containers, bound):
    listener, port = bound(socket.SOCK_STREAM)
    id = containers("sh", "-c", "echo first; read x; echo second; read x", OpenStdin=True, HostConfig=config(
        "gelf", gelf_address=f"tcp://127.0.0.1:{port}"
    ))  # fmt: skip
    received(listener, b'"first"')
    listener.close()
    with api.connect() as typing:
        head = f"POST /containers/{id}/attach?stdin=1&stdout=1&stream=1 HTTP/1.1\r\nUpgrade: tcp\r\nConnection: Upgrade"
        typing.sendall(f"{head}\r\n\r\n".encode())
        assert b"101" in typing.recv(4096)
        typing.sendall(b"\n")
        shown = b""
        while b"second" not in shown:
            shown += typing.recv(4096)
        again = socket.create_server(("127.0.0.1", port))
        message = received(again, b'"second"')
        assert json.loads(message.split(b"\0")[0])["short_message"] == "second"
        again.close()
        typing.sendall(b"\n")
    assert api.wait(id) == 0


def test_a_receiver_that_does_not_read_delays_nobody(api, containers, bound):
    _, port = bound(socket.SOCK_STREAM)
    host = config("fluentd", fluentd_address=f"127.0.0.1:{port}", cache_max_size="100k", cache_max_file="2")
    id = containers("sh", "-c", "head -c 30000000 /dev/zero | tr '\\0' a | fold -w 1000", HostConfig=host)
    assert api.wait(id) == 0
    tail = api.ask("GET", f"/containers/{id}/logs?stdout=1&tail=1").body
    assert tail[8:].strip(b"\n") == b"a" * 1000


def secured(listener, certificate, key, clients_of=None):
    """A context for receivers by TLS; with `clients_of` they ask for certificates of that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if clients_of is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients_of.file)
    return context.wrap_socket(listener, server_side=True)


def test_syslog_is_reached_by_tls(api, containers, bound, tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("client")
    plain, port = bound(socket.SOCK_STREAM)
    listener = secured(plain, *authority.issue("receiver"), clients_of=authority)
    address = f"tcp+tls://127.0.0.1:{port}"
    by_certificate = {"syslog-tls-cert": str(certificate), "syslog-tls-key": str(key)}
    for options in (
        {"syslog-tls-ca-cert": str(authority.file), "syslog-format": "rfc5424"},
        {"syslog-tls-skip-verify": "true", "syslog-format": "rfc5424"},
    ):
        with ThreadPoolExecutor(1) as pool:  # a start waits until both sides have agreed
            receiving = pool.submit(received, listener, b"one\n", b"two\n")
            id = containers(*SCRIPT, HostConfig=config("syslog", syslog_address=address, **by_certificate, **options))
            found = receiving.result(PATIENCE_S)
        # each message has its length before it
        length, _, rest = found.partition(b" ")
        assert rest[: int(length)].endswith(b" - one\n") or rest[: int(length)].endswith(b" - two\n")
        assert api.wait(id) == 0


def test_a_receiver_that_is_not_trusted_gets_nothing(api, containers, bound, tmp_path):
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    plain, port = bound(socket.SOCK_STREAM)
    plain.settimeout(PATIENCE_S)
    certificate, key = authority.issue("elsewhere", "DNS:elsewhere.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def answer_one():
        connection, _ = plain.accept()
        with connection, contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
            received.append(secured.recv(1))

    received = []
    syslog, unverified = ("syslog", "tcp+tls"), "tls: failed to verify certificate: "
    for (driver, scheme), options, message in (
        (syslog, {"syslog-tls-ca-cert": str(other.file)}, f"{unverified}unable to get local issuer"),
        (syslog, {"syslog-tls-ca-cert": str(authority.file)}, f"{unverified}IP address mismatch"),
        (syslog, {"syslog-tls-skip-verify": "false"}, f"{unverified}unable to get local issuer"),
        (("fluentd", "tls"), {}, f"{unverified}unable to get local issuer"),
        (
            syslog,
            {"syslog-tls-ca-cert": f"{tmp_path}/none"},
            f"could not read CA certificate: open {tmp_path}/none: no such",
        ),
        (
            syslog,
            {"syslog-tls-cert": str(certificate), "syslog-tls-key": str(other.file)},
            "could not load X509 key pair",
        ),
    ):
        host = config(driver, **{f"{driver}-address": f"{scheme}://127.0.0.1:{port}"}, **options)
        thread = threading.Thread(target=answer_one)
        thread.start()
        answer = api.ask("POST", f"/containers/{containers(*SCRIPT, start=False, HostConfig=host)}/start")
        thread.join()
        assert answer.status in (400, 404, 500), answer.message
        assert message in answer.message
    assert set(received) <= {b""}


def test_fluentd_gets_again_what_it_has_not_confirmed(api, containers, bound):
    listener, port = bound(socket.SOCK_STREAM)
    address = f"127.0.0.1:{port}"
    host = config("fluentd", fluentd_address=address, fluentd_request_ack="true", fluentd_sub_second_precision="true")
    id = containers("sh", "-c", "for n in 1 2 3; do echo line $n; done", HostConfig=host)
    listener.settimeout(PATIENCE_S)
    first, _ = listener.accept()
    first.settimeout(PATIENCE_S)
    assert b"line 1" in first.recv(1 << 16)
    first.close()  # all of it is lost: nothing was confirmed
    again, _ = listener.accept()
    again.settimeout(PATIENCE_S)
    found, confirmed = b"", 0
    while b"line 3" not in found or confirmed < 3:
        data = again.recv(1 << 16)
        assert data, found
        found += data
        chunks = re.findall(rb"\xa5chunk\xb8(.{24})", found)
        for chunk in chunks[confirmed:]:
            again.sendall(b"\x81\xa3ack\xb8" + chunk)
        confirmed = len(chunks)
    assert [b"line %d" % number in found for number in (1, 2, 3)] == [True] * 3
    assert b"\xd7\x00" in found  # EventTime
    assert api.wait(id) == 0
    assert not again.recv(1)  # everything is confirmed: the engine closes
    again.close()
