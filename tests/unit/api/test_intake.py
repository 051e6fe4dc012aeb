"""What a server takes from clients that send slowly, too much, or are too many: over real sockets, with small limits."""

import json
import socket
from contextlib import asynccontextmanager, nullcontext
from types import SimpleNamespace

import anyio
import pytest

from runtime.api import documents, serve
from runtime.api.intake import IntakeLimits
from runtime.engine.background import Background
from tests.support.api import parse

pytestmark = pytest.mark.anyio
PING = b"GET /_ping HTTP/1.1\r\nHost: engine\r\n\r\n"
SOON_S = 10


class Engine:
    """What the server asks of an engine, and no more: containers are taken note of, bodies of archives read."""

    def __init__(self, group):
        self.background = Background(group)
        self.busy = nullcontext
        self.store = SimpleNamespace(flush=anyio.lowlevel.checkpoint)
        self.creation = SimpleNamespace(create=self._create)
        self.image_api = SimpleNamespace(load=self._load)
        self.created = []

    async def _create(self, name, body, platform):
        self.created.append(body)
        return {"Id": "made", "Warnings": []}

    async def _load(self, source, send):
        size = sum([len(piece) async for piece in source])
        await send({"stream": f"{size} bytes"})


class Client:
    def __init__(self, stream):
        self.stream = stream

    async def send(self, data):
        await self.stream.send(data)

    async def answer(self):
        """Return the next answer, whose length is given or which ends the connection."""
        with anyio.fail_after(SOON_S):
            data = b""
            while True:
                _, end, body = data.partition(b"\r\n\r\n")
                if end:
                    found = parse(data)
                    if len(body) >= int(found.headers.get("content-length", 1 << 30)) or body.endswith(b"0\r\n\r\n"):
                        return found
                data += await self.stream.receive()

    async def is_closed(self):
        with anyio.fail_after(SOON_S):
            try:
                await self.stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return True
        return False


@asynccontextmanager
async def served(tmp_path, **limits):
    """Serve with `limits`; give the engine and how to connect."""
    path = str(tmp_path / "s")
    async with anyio.create_task_group() as group:
        engine = Engine(group)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.setblocking(False)
            listener.bind(path)
            listener.listen(64)
            group.start_soon(serve, engine, listener, IntakeLimits(**limits))

            @asynccontextmanager
            async def connect():
                async with await anyio.connect_unix(path) as stream:
                    yield Client(stream)

            yield engine, connect
            group.cancel_scope.cancel()


async def pinged(client):
    await client.send(PING)
    assert (await client.answer()).status == 200


def create(length, body=b""):
    head = "POST /containers/create HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {length}\r\n\r\n".encode() + body


async def test_a_head_that_does_not_end_is_given_up_but_an_idle_connection_is_not(tmp_path):
    async with served(tmp_path, head_s=0.1) as (_, connect), connect() as idle, connect() as slow, connect() as kept:
        await pinged(kept)
        await slow.send(PING[:20])
        refused = await slow.answer()
        assert (refused.status, await slow.is_closed()) == (408, True)
        assert b"the request's head did not arrive within 0.1 s" in refused.body
        # both have waited as long as the slow one
        for one in (idle, kept):
            await pinged(one)


async def test_a_document_that_does_not_come_is_given_up(tmp_path):
    async with served(tmp_path, document_s=0.1, linger_s=0.1) as (engine, connect), connect() as slow:
        await slow.send(create(100, b'{"Image": '))
        refused = await slow.answer()
        assert (refused.status, await slow.is_closed()) == (408, True)
        assert refused.message == "the request's body did not arrive within 0.1 s"
        assert engine.created == []


async def test_an_archive_may_come_slowly_but_not_stop(tmp_path):
    async with served(tmp_path, pause_s=0.3, document_s=0.01, linger_s=0.1) as (_, connect), connect() as slow:
        await slow.send(b"POST /images/load HTTP/1.1\r\nHost: engine\r\nContent-Length: 10\r\n\r\n")
        for _ in range(5):  # longer than one pause, all together
            await slow.send(b"x")
            await anyio.sleep(0.1)
        refused = await slow.answer()
        assert (refused.status, await slow.is_closed()) == (408, True)
        assert refused.message == "the next piece of the request's body did not arrive within 0.3 s"


async def test_a_document_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    async with served(tmp_path, linger_s=0.1) as (_, connect), connect() as client:
        await client.send(create(64 << 20, b"{"))
        refused = await client.answer()
        assert refused.status == 413
        assert refused.message.startswith(
            "the request's body is too large: it has 67,108,864 bytes, and the limit of a document is 2,097,152 bytes"
        )


async def test_a_document_in_chunks_is_refused_where_it_grows_too_large(tmp_path):
    async with served(tmp_path) as (_, connect), connect() as client:
        head = create(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        piece = b"%x\r\n%b\r\n" % (1 << 20, b" " * (1 << 20))
        async with anyio.create_task_group() as group:
            group.start_soon(client.send, head + piece * 3 + b"0\r\n\r\n")
            refused = await client.answer()
        assert (refused.status, b"it has more" in refused.body) == (413, True)
        await pinged(client)  # all of it was sent: the next request can follow


async def test_unfinished_documents_share_their_memory(tmp_path):
    async with (
        served(tmp_path, unfinished_bytes=100_000, linger_s=0.1) as (engine, connect),
        connect() as first,
        connect() as second,
        connect() as third,
    ):
        body = json.dumps({"Image": "x" * 60_000}).encode()
        await first.send(create(len(body), body[:-1]))
        await pinged(third)  # what was sent before is read by then
        await second.send(create(len(body), body))
        refused = await second.answer()
        assert (refused.status, b"too many unfinished requests" in refused.body) == (503, True)
        await first.send(body[-1:])
        assert (await first.answer()).status == 201
        await third.send(create(len(body), body))
        assert (await third.answer()).status == 201
        assert len(engine.created) == 2


async def test_unfinished_heads_share_the_same_memory(tmp_path):
    async with (
        served(tmp_path, unfinished_bytes=100_000) as (_, connect),
        connect() as first,
        connect() as second,
        connect() as third,
    ):
        head = PING[:-2] + b"X: " + b"x" * 60_000
        await first.send(head)
        await pinged(third)
        await second.send(head)
        refused = await second.answer()
        assert (refused.status, await second.is_closed()) == (503, True)
        await first.send(b"\r\n\r\n")
        assert (await first.answer()).status == 200


async def test_connections_above_the_cap_are_refused_and_fit_in_when_others_end(tmp_path):
    async with served(tmp_path, connections=2) as (_, connect):
        async with connect() as first, connect() as second:
            for one in (first, second):
                await pinged(one)
            async with connect() as third:
                refused = await third.answer()
                assert (refused.status, await third.is_closed()) == (503, True)
                assert refused.body.startswith(b"the engine already serves 2 connections, which is its limit\n")
        async with connect() as fourth:
            await pinged(fourth)


async def test_empty_lines_before_a_request_are_passed_over(tmp_path):
    async with served(tmp_path, head_s=0.1) as (_, connect), connect() as client:
        await client.send(b"\r\n")
        await client.send(b"\r\n\r" + b"\n" + PING)
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("size", [100, documents.LARGEST_AT_ONCE * 2])
@pytest.mark.parametrize(
    "text",
    ['{"Image": "x", "Labels": {"a": 1, @}}', "[@]", '{"Image": @', "@" * 50, '{"Image": "\\u0000@"}', "[" * 50_000 + "@"],
)  # fmt: skip
async def test_a_wrong_document_is_refused_whatever_its_size(tmp_path, text, size):
    body = text.replace("@", " " * size, 1).replace("@", "").encode()
    async with served(tmp_path) as (engine, connect), connect() as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.send, create(len(body), body))
            refused = await client.answer()
        assert refused.status == 400
        assert refused.message.startswith("invalid JSON: ")
        assert engine.created == []


async def test_a_large_document_is_what_a_small_one_is(tmp_path):
    async with served(tmp_path) as (engine, connect), connect() as client:
        labels = {f"label.{number}": "é" for number in range(20_000)}
        body = json.dumps({"image": "x", "Labels": labels, "Tty": True, "Env": None}).encode()
        async with anyio.create_task_group() as group:
            group.start_soon(client.send, create(len(body), body))
            assert (await client.answer()).status == 201
        assert engine.created == [{"Image": "x", "Labels": labels, "Tty": True}]
