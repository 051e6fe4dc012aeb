"""Calls over HTTP/2, between two of our own ends of a socket pair."""

import socket
from contextlib import asynccontextmanager

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.api.connection import ClientConnection
from runtime.api.intake import Intake, IntakeLimits
from runtime.buildkit.agents import forwarded_agent
from runtime.buildkit.http2 import WINDOW_BYTES, Http2
from runtime.buildkit.rpc import NOT_FOUND, UNIMPLEMENTED, RpcError, Server, ask, calling, trailers
from runtime.buildkit.schema import BYTES, message
from runtime.buildkit.sessions import METHOD, UUID, Session

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def connected(methods):
    """Give the client's end of a connection whose server has `methods`."""
    ours, theirs = socket.socketpair()
    errors = []
    server = Server(methods, errors.append)
    with ours, theirs:
        client = Http2(ClientConnection(ours, Intake(IntakeLimits())), is_client=True)
        server.connection = Http2(ClientConnection(theirs, Intake(IntakeLimits())), is_client=False, serve=server.serve)
        async with anyio.create_task_group() as group:
            group.start_soon(client.run)
            group.start_soon(server.connection.run)
            with anyio.fail_after(30):
                yield client
            group.cancel_scope.cancel()
    assert not errors


async def echo(call):
    while (piece := await call.receive(BYTES)) is not None:
        await call.send(piece)


@pytest.mark.parametrize("size", [0, 1, 100_000, WINDOW_BYTES + 1, 3 * WINDOW_BYTES])
async def test_messages_of_any_size_come_back_whole(size):
    async with connected({"/a.B/Echo": echo}) as client:
        answer = await ask(client, "/a.B/Echo", message(BYTES)(data=b"x" * size), BYTES)
        assert answer.data == b"x" * size


async def test_more_than_the_windows_hold_goes_through_in_small_messages():
    async with connected({"/a.B/Echo": echo}) as client, calling(client, "/a.B/Echo") as call:
        count = 2 * WINDOW_BYTES // 2000
        received = 0

        async def send():
            for _ in range(count):
                await call.send(message(BYTES)(data=b"y" * 2000))
            await call.end()

        async with anyio.create_task_group() as group:
            group.start_soon(send)
            while (piece := await call.receive(BYTES)) is not None:
                received += len(piece.data)
        assert received == count * 2000


async def test_an_error_comes_with_its_code_and_text():
    async def fail(call):
        await call.request(BYTES)
        raise RpcError(NOT_FOUND, "no 100% such ref: ümlaut\nand a second line")

    async with connected({"/a.B/Fail": fail}) as client:
        with pytest.raises(RpcError) as raised:
            await ask(client, "/a.B/Fail", message(BYTES)(), BYTES)
        assert (raised.value.code, raised.value.message) == (NOT_FOUND, "no 100% such ref: ümlaut\nand a second line")
        with pytest.raises(RpcError) as raised:
            await ask(client, "/a.B/Missing", message(BYTES)(), BYTES)
        assert raised.value.code == UNIMPLEMENTED


@given(st.text())
def test_what_trailers_carry_is_ascii(text):
    status = message("google.rpc.Status")(code=2, message=text.encode("utf-8", "replace").decode())
    assert all(value.isascii() and "\n" not in value for _, value in trailers(status))


async def test_a_call_that_its_client_leaves_is_cancelled_for_the_server():
    ended = anyio.Event()

    async def wait(call):
        try:
            await call.send(message(BYTES)(data=b"begun"))
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with connected({"/a.B/Wait": wait}) as client:
        async with calling(client, "/a.B/Wait") as call:
            await call.receive(BYTES)
        await ended.wait()


async def test_an_agent_is_reached_over_the_session(tmp_path):
    async def check(call):
        await call.request("moby.sshforward.v1.CheckAgentRequest")
        await call.send(message("moby.sshforward.v1.CheckAgentResponse")())

    async def forward(call):
        assert call.metadata["buildkit.ssh.id"] == "own"
        while (piece := await call.receive(BYTES)) is not None:
            await call.send(message(BYTES)(data=piece.data.upper()))

    service = "/moby.sshforward.v1.SSH"
    async with connected({f"{service}/CheckAgent": check, f"{service}/ForwardAgent": forward}) as client:
        session = Session({UUID: "id", METHOD: f"{service}/ForwardAgent"}, client)
        async with forwarded_agent(session, "own", tmp_path) as path, await anyio.connect_unix(path) as peer:
            for word in (b"first", b"second"):
                await peer.send(word)
                assert await peer.receive() == word.upper()


def test_a_session_knows_what_its_client_serves():
    session = Session({UUID: "id", METHOD: "/a.B/C, /moby.filesync.v1.FileSync/DiffCopy"}, None)
    assert session.serves("/moby.filesync.v1.filesync/diffcopy")
    assert not session.serves("/moby.filesync.v1.FileSend/DiffCopy")
