"""The response to clients when no engine can be started; without large imports, as the doorman uses it, too."""

from __future__ import annotations

import socket

ANSWER = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n"


def refuse_waiting(listener: socket.socket, reason: str) -> None:
    """Respond 503 with `reason` to all clients that wait at the non-blocking `listener`."""
    body = b'{"message":' + json_string(f"the engine can't be started: {reason}") + b"}\n"
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client:
            client.setblocking(False)
            try:
                client.recv(1 << 16)  # closing a socket with unread data discards what was sent (ECONNRESET)
                client.send(ANSWER.format(len(body)).encode() + body)
            except OSError:
                continue


def json_string(text: str) -> bytes:
    """Return `text` as a JSON string; the `json` module would cost the doorman half a megabyte."""
    escaped = {'"': '\\"', "\\": "\\\\", "\n": "\\n"}
    return ('"' + "".join(escaped.get(one, one if one >= " " else " ") for one in text) + '"').encode()
