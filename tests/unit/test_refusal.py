"""Who waits for an engine that can't start is informed why."""

import socket

from runtime.refusal import refuse_waiting


class Listener(socket.socket):
    """A listener that calls `before_accept` each time before it looks for a client."""

    def __init__(self, path):
        super().__init__(socket.AF_UNIX)
        self.bind(path)
        self.listen()
        self.setblocking(False)
        self.path = path
        self.before_accept = lambda: None

    def accept(self):
        self.before_accept()
        return super().accept()

    def connected(self):
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.path)
        client.setblocking(False)
        return client


def answer_to(client):
    """What was sent to the client; None if nothing was and its connection is open."""
    try:
        return client.recv(1 << 16)
    except BlockingIOError:
        return None


def test_who_connects_after_an_answer_is_left_to_the_next_attempt(tmp_path):
    with Listener(str(tmp_path / "socket")) as listener:
        clients = [listener.connected() for _ in range(3)]
        for client in clients:
            client.send(b"GET / HTTP/1.1\r\n\r\n")
        answers = [None] * len(clients)
        again = []

        def connect_after_an_answer():
            answers[0] = answers[0] or answer_to(clients[0])
            if answers[0] and not again:
                again.append(listener.connected())

        listener.before_accept = connect_after_an_answer
        refuse_waiting(listener, "no space")
        connect_after_an_answer()
        assert answers[0].startswith(b"HTTP/1.1 503 ")
        assert all(b"no space" in answer_to(client) for client in clients[1:])
        assert answer_to(again[0]) is None
        for client in [*clients, *again]:
            client.close()


def test_a_client_whose_request_is_on_its_way_and_one_that_is_gone(tmp_path):
    with Listener(str(tmp_path / "socket")) as listener:
        listener.connected().close()
        client = listener.connected()
        refuse_waiting(listener, "no space")
        assert b"no space" in answer_to(client)
        client.close()
