"""The Docker Engine API by hand: requests as bytes, for what no well-behaved client would send."""

import json
import socket
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """The status, the headers by lower-case name, and the body of an answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def message(self):
        return self.json["message"]


class Api:
    """Talks to the engine at a unix socket."""

    def __init__(self, path):
        self.path = str(path)

    def connect(self, timeout=20):
        """Return a fresh connection."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout)
        connection.connect(self.path)
        return connection

    def exchange(self, data, *, half_close=False):
        """Send bytes; return all that comes until the engine closes the connection."""
        with self.connect() as connection:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            return read_all(connection)

    def ask(self, method, path, document=None, **headers):
        """Return the answer to one request; `document` is sent as JSON, or as it is when it is bytes."""
        body = document if isinstance(document, bytes) else b"" if document is None else json.dumps(document).encode()
        told = {"Content-Type": "application/json", "Content-Length": len(body), "Connection": "close"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        return parse(self.exchange(f"{method} {path} HTTP/1.1\r\nHost: engine\r\n{head}\r\n".encode() + body))

    def make(self, *command, name=None, **body):
        """Create a busybox container; return its ID."""
        query = f"?name={name}" if name else ""
        answer = self.ask("POST", f"/containers/create{query}", {"Image": "busybox", "Cmd": list(command), **body})
        assert answer.status == 201, answer
        return answer.json["Id"]

    def run(self, *command, name=None, **body):
        """Create and start a busybox container; return its ID."""
        id = self.make(*command, name=name, **body)
        answer = self.ask("POST", f"/containers/{id}/start")
        assert answer.status == 204, answer
        return id

    def wait(self, id):
        """Return the exit code of a container when it stops."""
        return self.ask("POST", f"/containers/{id}/wait").json["StatusCode"]

    def state(self, id):
        """Return the container's State."""
        return self.ask("GET", f"/containers/{id}/json").json["State"]

    def remove(self, id):
        """Remove a container, whatever it does."""
        self.ask("DELETE", f"/containers/{id}?force=1&v=1")

    def events(self, **filters):
        """Return a connection on which the events that pass come, the answer's head already read."""
        query = json.dumps({key: values for key, values in filters.items()}).replace('"', "%22").replace(" ", "%20")
        connection = self.connect()
        connection.sendall(f"GET /events?filters={query} HTTP/1.0\r\n\r\n".encode())
        stream = connection.makefile("rb")
        while stream.readline().strip():
            pass
        return connection, stream


def read_all(connection):
    """Return all bytes until the other side is done."""
    found = b""
    while data := connection.recv(1 << 16):
        found += data
    return found


def parse(data):
    """Return the answer in `data`, chunks put together."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        whole = b""
        while body:
            size, _, body = body.partition(b"\r\n")
            whole, body = whole + body[: int(size, 16)], body[int(size, 16) + 2 :]
        body = whole
    return Answer(int(first.split()[1]), headers, body)
