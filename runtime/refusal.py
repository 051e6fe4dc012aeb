"""The answer to clients of an engine that can't be started; small, as the doorman has it too."""

from __future__ import annotations

import socket

ANSWER = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n"


def refuse_waiting(listener: socket.socket, reason: str) -> None:
    """Answer those who wait at `listener`, which does not block, that no engine could be started, and why."""
    body = b'{"message":' + json_string(f"the engine can't be started: {reason}") + b"}\n"
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client:
            client.setblocking(False)
            try:
                client.recv(1 << 16)  # what is left unread would have the answer thrown away
                client.send(ANSWER.format(len(body)).encode() + body)
            except OSError:
                continue


def json_string(text: str) -> bytes:
    """Return `text` as JSON has it; `json` would be half a megabyte more."""
    escaped = {'"': '\\"', "\\": "\\\\", "\n": "\\n"}
    return ('"' + "".join(escaped.get(one, one if one >= " " else " ") for one in text) + '"').encode()
