"""Directories that travel from a client: what comes, what need not come again, and what is refused."""

import os
import stat

import anyio
import pytest

from runtime.buildkit.filesync import (
    DATA,
    DIRECTORY,
    FIN,
    PACKET,
    PATH,
    REQUEST,
    SETUID,
    STAT,
    SYMLINK,
    receive_directory,
)
from runtime.buildkit.rpc import RpcError
from runtime.buildkit.schema import message
from runtime.buildkit.sessions import METHOD, UUID, Session
from tests.unit.buildkit.test_rpc import connected

pytestmark = pytest.mark.anyio
Packet, Stat = message(PACKET), message("fsutil.types.Stat")


def client_of(entries):
    """Serve entries, pairs of a Stat's fields and a content; returns the method and the paths that were asked for."""
    asked = []

    async def copy(call):
        for fields, content in entries:
            await call.send(Packet(type=STAT, stat=Stat(size=len(content), **fields)))
        await call.send(Packet(type=STAT))
        while (packet := await call.receive(PACKET)) is not None:
            if packet.type == FIN:
                await call.send(Packet(type=FIN))
                return
            if packet.type == REQUEST:
                fields, content = entries[packet.ID]
                asked.append(fields["path"])
                for start in range(0, len(content), 7):
                    await call.send(Packet(type=DATA, ID=packet.ID, data=content[start : start + 7]))
                await call.send(Packet(type=DATA, ID=packet.ID))

    return copy, asked


async def received(entries, directory):
    copy, asked = client_of(entries)
    async with connected({PATH: copy}) as client:
        await receive_directory(Session({UUID: "id", METHOD: PATH}, client), "context", directory)
    return asked


def file(path, content=b"", mode=0o644, time=10**18, **more):
    return {"path": path, "mode": mode, "modTime": time, **more}, content


TREE = [
    file("bin", mode=DIRECTORY | 0o750),
    file("bin/tool", b"#!/bin/sh\n", mode=SETUID | 0o755),
    file("empty"),
    file("hard", mode=0o755 | SETUID, linkname="bin/tool"),
    file("link", mode=SYMLINK | 0o777, linkname="bin/tool"),
    file("text", b"some words\n" * 100, time=10**18 + 5),
]


async def test_files_links_modes_and_times_arrive(tmp_path):
    assert await received(TREE, tmp_path) == ["bin/tool", "text"]
    assert (tmp_path / "text").read_bytes() == b"some words\n" * 100
    assert (tmp_path / "empty").read_bytes() == b""
    assert os.readlink(tmp_path / "link") == "bin/tool"
    tool = (tmp_path / "bin/tool").stat()
    assert stat.S_IMODE(tool.st_mode) == 0o4755
    assert (tmp_path / "hard").stat().st_ino == tool.st_ino
    assert stat.S_IMODE((tmp_path / "bin").stat().st_mode) == 0o750
    assert {(tmp_path / name).lstat().st_mtime_ns for name in ("bin", "bin/tool", "empty", "link")} == {10**18}


async def test_what_is_there_already_does_not_come_again(tmp_path):
    await received(TREE, tmp_path)
    assert await received(TREE, tmp_path) == []
    changed = [file("text", b"other words", time=10**18 + 9) if one[0]["path"] == "text" else one for one in TREE]
    assert await received(changed, tmp_path) == ["text"]
    assert (tmp_path / "text").read_bytes() == b"other words"


async def test_what_is_gone_or_of_another_kind_goes(tmp_path):
    await received(TREE, tmp_path)
    await received(
        [file("bin", b"now a file"), file("text", mode=DIRECTORY | 0o755), file("text/below", b"x")], tmp_path
    )
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["bin", "text", "text/below"]
    assert (tmp_path / "bin").read_bytes() == b"now a file"


@pytest.mark.parametrize(
    "entries",
    [
        [file("../outside", b"x")],
        [file("/outside", b"x")],
        [file("a/../../outside", b"x")],
        [file("missing/f", b"x")],
        [file("link", mode=SYMLINK | 0o777, linkname="/"), file("link/outside", b"x")],
        [file("hard", linkname="../../outside")],
    ],
    ids=["up", "absolute", "up within", "no directory", "through a link", "hard link"],
)
async def test_nothing_leaves_the_directory(tmp_path, entries):
    (tmp_path / "outside").write_text("kept")
    inner = tmp_path / "inner"
    inner.mkdir()
    copy, _ = client_of(entries)
    async with connected({PATH: copy}) as client:
        with pytest.raises(RpcError, match="path"):
            await receive_directory(Session({UUID: "id", METHOD: PATH}, client), "context", inner)
    assert (tmp_path / "outside").read_text() == "kept"


async def test_a_client_that_ends_in_the_middle_is_reported(tmp_path):
    async def copy(call):
        await call.send(Packet(type=STAT, stat=Stat(path="f", size=5, mode=0o644)))

    async with connected({PATH: copy}) as client:
        with pytest.raises(RpcError, match="before it was complete"), anyio.fail_after(20):
            await receive_directory(Session({UUID: "id", METHOD: PATH}, client), "context", tmp_path)
