"""The response to clients when no engine can be started; without large imports, as the doorman uses it, too."""

from __future__ import annotations

import socket

ANSWER = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n"


def refuse_waiting(listener: socket.socket, reason: str) -> None:
    """Respond 503 with `reason` to all clients that wait at the non-blocking `listener`.

    All are accepted before the first is answered: a client that connects after an answer, when what `reason` says may be
    mended, is not among them.
    """
    body = b'{"message":' + json_string(f"the engine can't be started: {reason}") + b"}\n"
    answer = ANSWER.format(len(body)).encode() + body
    clients = []
    while True:
        try:
            clients.append(listener.accept()[0])
        except OSError:  # nobody else waits, or there are no more descriptors: who is left causes the next attempt
            break
    for client in clients:
        with client:
            client.setblocking(False)
            try:
                client.send(answer)
                client.recv(1 << 16)  # closing a socket with unread data discards what was sent (ECONNRESET)
            except OSError:  # the client is gone, or its request is still on its way
                continue


def json_string(text: str) -> bytes:
    """Return `text` as a JSON string; the `json` module would cost the doorman half a megabyte."""
    escaped = {'"': '\\"', "\\": "\\\\", "\n": "\\n"}
    return ('"' + "".join(escaped.get(one, one if one >= " " else " ") for one in text) + '"').encode()
