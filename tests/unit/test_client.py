"""The API client: a response that breaks off is an error, at whatever byte."""

import socket
import threading

import pytest

from runtime.client import Client
from runtime.client.endpoint import EngineAddress
from runtime.errors import SkiffError

BROKEN = "closed the connection before the response was complete"
BODY = b'{"Version": "1", "long": "' + b"x" * 200 + b'"}\n'
WITH_LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)


@pytest.fixture
def served(tmp_path):
    """A function that has one connection answered with some bytes, after which it is closed; returns a client."""
    threads = []

    def serve(answer):
        listener = socket.socket(socket.AF_UNIX)
        path = tmp_path / f"{len(threads)}.sock"
        listener.bind(str(path))
        listener.listen()

        def answer_one():
            with listener, listener.accept()[0] as connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

        threads.append(threading.Thread(target=answer_one))
        threads[-1].start()
        return Client(EngineAddress(path=str(path)))

    yield serve
    for thread in threads:
        thread.join(10)


@pytest.mark.parametrize("answer", [WITH_LENGTH, CHUNKED])
def test_a_response_that_breaks_off_is_an_error(served, answer):
    assert served(answer).version()["Version"] == "1"
    begin = answer.index(b"\r\n\r\n") + 4
    for end in (begin, begin + 1, begin + 40, len(answer) - 1):
        with pytest.raises(SkiffError, match=BROKEN):
            served(answer[:end]).version()
    with pytest.raises(SkiffError, match=BROKEN):
        served(answer[: begin + 40]).stats("x")
    with pytest.raises(SkiffError, match="closed the connection"):
        served(answer[: begin - 1]).version()


def test_a_document_in_which_a_stream_breaks_off_is_none(served):
    chunk = b'{"id": "1"}\n{"id": "2'
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(chunk), chunk)
    assert list(served(answer).events({}).documents()) == [{"id": "1"}]
