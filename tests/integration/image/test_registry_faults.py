"""A registry that fails once: it is asked again, and what it did is reported in words."""

import hashlib
import json
import socket
import threading

import anyio
import pytest

from runtime.image.manifest import Descriptor
from runtime.image.reference import Reference
from runtime.image.registry import Registry
from runtime.image.registry_http import TransferError

MANIFEST = json.dumps(
    {"schemaVersion": 2, "config": {"digest": "sha256:" + "0" * 64, "size": 2}, "layers": []}
).encode()
TYPE = b"Content-Type: application/vnd.oci.image.manifest.v1+json\r\n"
GOOD = b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (TYPE, len(MANIFEST), MANIFEST)
CUT = GOOD[:-10]
HUNG_UP = b""
NONSENSE = b"SSH-2.0-OpenSSH_9.2\r\n\r\n"


def failing(status, *, pause=b"0"):
    return b"HTTP/1.1 %d X\r\nRetry-After: %b\r\nContent-Length: 0\r\n\r\n" % (status, pause)


class ScriptedRegistry:
    """Gives one answer a connection, in order, and hangs up."""

    def __init__(self, *answers):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.domain = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked = 0
        self._thread = threading.Thread(target=self._serve, args=(answers,))
        self._thread.start()

    def _serve(self, answers):
        for answer in answers:
            connection, _ = self._listener.accept()
            with connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += connection.recv(1 << 16)
                self.asked += 1
                connection.sendall(answer)
        self._listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._thread.join(20)


@pytest.mark.parametrize("first", [failing(500), failing(503), failing(429), CUT, HUNG_UP], ids=str)
def test_a_manifest_and_a_configuration_that_fail_once_get_a_second_try(first):
    async def main():
        with ScriptedRegistry(first, GOOD, first, GOOD) as server:
            async with Registry.open(server.domain) as registry:
                found = await registry.manifest(Reference.parse(f"{server.domain}/app:1"))
                assert found.raw == MANIFEST
                config = Descriptor("", f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}", len(MANIFEST))
                assert await registry.small_blob("app", config, 1 << 20) == MANIFEST
            assert server.asked == 4

    anyio.run(main)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([CUT] * 5, "hung up before its answer was whole"),
        ([NONSENSE] * 5, "gave an answer that is no HTTP"),
        ([failing(429, pause=b"3600")], "allows no more requests for now"),
    ],
)
def test_what_stays_wrong_is_reported_without_the_library(answers, words, monkeypatch):
    monkeypatch.setattr("runtime.image.retries.FIRST_PAUSE_S", 0)

    async def main():
        with ScriptedRegistry(*answers) as server:
            async with Registry.open(server.domain) as registry:
                with pytest.raises(TransferError, match=words) as caught:
                    await registry.manifest(Reference.parse(f"{server.domain}/app:1"))
            assert caught.value.hint
            assert not any(word in str(caught.value) for word in ("h11", "state", "role", "event"))

    anyio.run(main)
