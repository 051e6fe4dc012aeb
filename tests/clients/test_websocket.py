"""Attaching by a WebSocket, as clients in browsers do."""

import socket

import pytest
import websocket

pytestmark = pytest.mark.root


@pytest.fixture
def attach(shared_home):
    """Attaches to a container; returns the client's end."""
    opened = []

    def connect(container, query):
        raw = socket.socket(socket.AF_UNIX)
        raw.settimeout(20)
        raw.connect(str(shared_home.run / "engine.sock"))
        opened.append(
            websocket.create_connection(f"ws://engine/v1.50/containers/{container.id}/attach/ws?{query}", socket=raw)
        )
        return opened[-1]

    yield connect
    for one in opened:
        one.close()


def test_what_is_typed_comes_back_and_the_end_is_reported(start, attach):
    container = start("sh", "-c", "read line; echo heard $line; echo error >&2", stdin_open=True)
    client = attach(container, "stream=1&stdin=1&stdout=1&stderr=1")
    client.ping(b"there?")
    client.send("hello\n")
    heard = b""
    while (frame := client.recv_data_frame(control_frame=True))[0] != websocket.ABNF.OPCODE_CLOSE:
        assert frame[0] in (websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_PONG)
        heard += frame[1].data if frame[0] == websocket.ABNF.OPCODE_BINARY else b""
    assert sorted(heard.splitlines()) == [b"error", b"heard hello"]
    assert container.wait()["StatusCode"] == 0


def test_a_client_that_closes_leaves_the_container_running(start, attach):
    container = start("cat", stdin_open=True, tty=True)
    client = attach(container, "stream=1&stdin=1&stdout=1")
    client.send_binary(b"one\n")
    assert client.recv().startswith(b"one\r\n")
    client.close()
    container.reload()
    assert container.status == "running"


def test_a_request_that_asks_for_no_websocket_is_refused(client, start):
    answer = client.api._get(client.api._url("/containers/{0}/attach/ws", start().id))
    assert (answer.status_code, "not a WebSocket handshake" in answer.text) == (400, True)
