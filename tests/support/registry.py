"""Debian's docker-registry on loopback, and a relay before it that notes requests and can break a transfer off."""

import contextlib
import re
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

PROGRAM = shutil.which("docker-registry")

USERS = "user:$2b$04$dqT37RMmGC2naHvPt6JFgeO0V8KIZFMv8N0Yr/AfMjFvAhzYhl8AW\n"
"""A user called "user" with the password "secret" (bcrypt), as htpasswd writes it."""

CONFIGURATION = """
version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {storage}}}
  delete: {{enabled: true}}
http: {{addr: 127.0.0.1:{port}}}
{auth}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class LocalRegistry:
    """A registry with a storage directory of its own; `users` is the text of an htpasswd file, None for everybody."""

    def __init__(self, users=None):
        self.base = Path(tempfile.mkdtemp(prefix="skiff-registry-", dir="/tmp"))
        self.port = free_port()
        auth = ""
        if users is not None:
            (self.base / "htpasswd").write_text(users)
            auth = f"auth: {{htpasswd: {{realm: tests, path: {self.base / 'htpasswd'}}}}}"
        configuration = self.base / "config.yml"
        configuration.write_text(CONFIGURATION.format(storage=self.base / "storage", port=self.port, auth=auth))
        self._log = (self.base / "log").open("wb")
        self.process = subprocess.Popen(
            [PROGRAM, "serve", configuration], stdout=self._log, stderr=subprocess.STDOUT, cwd=self.base
        )
        self._await()

    @property
    def domain(self):
        return f"127.0.0.1:{self.port}"

    def _await(self):
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert self.process.poll() is None, (self.base / "log").read_text()
            assert time.monotonic() < deadline, "the registry does not answer"
            time.sleep(0.01)

    def blob(self, digest):
        """Where the registry keeps a blob."""
        hexadecimal = digest.partition(":")[2]
        return self.base / "storage/docker/registry/v2/blobs/sha256" / hexadecimal[:2] / hexadecimal / "data"

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        self._log.close()
        shutil.rmtree(self.base)


class Relay:
    """Passes connections on to a port, notes each request line, and breaks answers to blobs off when asked to."""

    def __init__(self, port):
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.requests = []
        self.break_after = None
        self.breaks = 0
        self._closing, self._closed = socket.socketpair()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def domain(self):
        return f"127.0.0.1:{self.port}"

    def blobs(self):
        """The blobs that were asked for, in order."""
        return [line for line in self.requests if line.startswith("GET") and "/blobs/" in line]

    def _accept(self):
        while True:
            ready, _, _ = select.select([self._listener, self._closed], [], [])
            if self._closed in ready:
                return
            client, _ = self._listener.accept()
            thread = threading.Thread(target=self._pass, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _pass(self, client):
        server = socket.create_connection(("127.0.0.1", self._target))
        is_blob, passed = False, 0
        with client, server:
            while True:
                ready, _, _ = select.select([client, server, self._closed], [], [])
                if self._closed in ready:
                    return
                for source in ready:
                    try:
                        data = source.recv(1 << 16)
                    except OSError:
                        return
                    if not data:
                        return
                    if source is client:
                        heads = re.findall(rb"(?:GET|HEAD|POST|PUT|PATCH|DELETE) \S+ HTTP/1.1\r\n[^\0]*?\r\n\r\n", data)
                        self.requests += [head.decode().replace("\r\n", "; ") for head in heads]
                        is_blob, passed = any(b"/blobs/sha256" in head for head in heads), 0
                    elif is_blob and self.break_after is not None:
                        passed += len(data)
                        if passed > self.break_after and self.breaks:
                            self.breaks -= 1
                            return
                    (server if source is client else client).sendall(data)

    def stop(self):
        self._closing.send(b"x")
        for thread in self._threads:
            thread.join(20)
        self._listener.close()
        self._closing.close()
        self._closed.close()
