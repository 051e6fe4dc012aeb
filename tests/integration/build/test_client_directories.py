"""A client's directory that is read where it lies gives the image that an archive of it gives."""

import os
import select
import socket
import socketserver
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from compose.execute.build import BuildCall, messages_of
from compose.execute.build_context import archive, stream
from runtime.build import digests
from runtime.build.client_directory import opened
from runtime.build.digests import FileDigests
from runtime.build.options import BuildOptions
from runtime.client import Client
from runtime.client.endpoint import EngineAddress
from runtime.errors import EngineError
from runtime.linux.inotify import Inotify
from tests.integration.build.workbench import copies_only, proves

pytestmark = pytest.mark.root
IN_OPEN = 0x20
EVERYTHING = """FROM scratch
COPY . /all
COPY --chown=5:6 --chmod=700 src/a /a
COPY --parents src/deep/*.txt /kept/
ADD --exclude=*.md src /added/
COPY --from=other . /other
"""


async def build_here(b, text, others=None, extra=None, **options):
    """Build the bench's context where it lies, with `others` by name."""
    b.write({"Dockerfile": text})
    contexts = {name: f"stream:.own/{name}" for name in others or ()}
    directories = {"": b.context, **{f".own/{name}": path for name, path in (others or {}).items()}}
    asked = BuildOptions(contexts=contexts, **options)

    async def sent():
        for piece in archive(extra or {}):
            yield piece

    with ExitStack() as stack:
        descriptors = {}
        for name, path in directories.items():
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, descriptor)
            descriptors[name] = descriptor
        clients = stack.enter_context(opened(descriptors, b.home / "digests"))
        return await b._messages(partial(b.builder.build_clients, clients, sent(), asked))


async def build_sent(b, text, others=None, **options):
    """Build an archive of the same, as the client sends it."""
    b.write({"Dockerfile": text})
    contexts = {name: f"stream:.own/{name}" for name in others or ()}
    directories = {f".own/{name}": path for name, path in (others or {}).items()}

    async def sent():
        for piece in stream(b.context, options.get("dockerfile", "Dockerfile"), "", {}, directories):
            yield piece

    asked = BuildOptions(contexts=contexts, own=".own", **options)
    return await b._messages(partial(b.builder.build_archive, sent(), asked))


def fill(b):
    """Write a context with what an archive would not carry, or carries in its own way."""
    b.write(
        {"src/a": "a", "src/deep/b.txt": "b", "src/c.md": "c", "hidden/x": "x", "hidden/seen": "seen", "z.log": "z"}
    )
    b.write({".dockerignore": "*.log\nhidden\n!hidden/seen\n"})
    os.link(b.context / "src/a", b.context / "src/hard")
    os.symlink("deep/b.txt", b.context / "src/soft")
    os.chown(b.context / "src/a", 1000, 1000)
    os.chmod(b.context / "src/a", 0o4750)
    os.utime(b.context / "src/a", ns=(1, 1_700_000_000_987_654_321))
    with suppress(OSError):
        os.setxattr(b.context / "src/a", "user.note", b"of this machine")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(b.context / "src/socket"))
    other = b.home / "other"
    (other / "in").mkdir(parents=True)
    (other / "in/file").write_text("other")
    (other / ".dockerignore").write_text("in/not\n")
    (other / "in/not").write_text("not")
    os.chown(other / "in/file", 1000, 1000)
    return {"other": other}


@copies_only
async def test_the_image_is_that_of_an_archive(b):
    others = fill(b)
    # directories that are made have the time of now, in whole seconds: both within one
    for _ in range(20):
        began_s = int(time.time())
        os.utime(b.context / "hidden")  # which an archive does not carry: it is made there for what it has
        sent = await build_sent(b, EVERYTHING, others, no_cache=True)
        here = await build_here(b, EVERYTHING, others, no_cache=True)
        if int(time.time()) == began_s:
            break
    assert here.image.diff_ids == sent.image.diff_ids
    again = await build_here(b, EVERYTHING, others)
    assert again.text.count("Using cache") == 5
    names = {str(Path(entry.path)) for entry in here.tree.walk(here.tree.root)}
    assert {"/all/hidden/seen", "/all/src/soft", "/other/in/file"} <= names
    assert not names & {"/all/hidden/x", "/all/z.log", "/all/src/socket", "/other/in/not"}
    assert b.leftovers == []


@copies_only
async def test_what_goes_along_is_no_part_of_the_context(b):
    b.write({"file": "1"})
    extra = {".own/Dockerfile": b"FROM scratch\nCOPY . /\n", ".own/secret": b"s"}
    found = await build_here(
        b, "FROM nothing\n", extra=extra, dockerfile=".own/Dockerfile", secret_members={"s": ".own/secret"}
    )
    assert {entry.path for entry in found.tree.walk(found.tree.root)} == {"/file", "/Dockerfile"}


@copies_only
async def test_a_file_that_has_not_changed_is_not_read_again(b):
    b.write({"one": "1", "two": "2"})
    for name in ("one", "two"):
        os.utime(b.context / name, ns=(0, 0))
    text = "FROM scratch\nCOPY one /\nCOPY two /\n"
    made = (await build_here(b, text)).image
    assert not (b.home / "digests").exists()  # they are too new to be trusted
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "SETTLED_NS", -digests.SETTLED_NS)
        assert (await build_here(b, text)).image.diff_ids == made.diff_ids
    watch = Inotify()
    watch.add(str(b.context / "one"), IN_OPEN)
    changed = watch.add(str(b.context / "two"), IN_OPEN)
    assert (await build_here(b, text)).image.diff_ids == made.diff_ids
    assert watch.read() == []
    (b.context / "two").write_text("3")
    os.utime(b.context / "two", ns=(0, 0))
    assert (await build_here(b, text)).read("/two") == "3"
    assert set(watch.read()) == {changed}
    watch.close()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"format":1,"files":{"1:2":[1]}}', b'{"format":2,"files":{}}'])
def test_damaged_digests_cost_a_second_reading_alone(damage):
    @copies_only
    async def inside(b):
        b.write({"one": "1"})
        kept = b.home / "digests"
        kept.mkdir()
        info = os.stat(b.context)
        (kept / f"{info.st_dev}-{info.st_ino}.json").write_bytes(damage)
        assert (await build_here(b, "FROM scratch\nCOPY one /\n")).read("/one") == "1"

    inside()


@pytest.mark.parametrize("changes", [1, 100])
def test_what_changes_between_hash_and_copy_is_hashed_again(changes):
    @copies_only
    async def inside(b):
        b.write({"file": "0"})
        left = iter(range(1, changes + 1))
        hashed = FileDigests.of

        def of(*given):
            digest = hashed(*given)
            if given[1].endswith("/file") and (number := next(left, None)):
                (b.context / "file").write_text("1" * number)
            return digest

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FileDigests, "of", of)
            found = await build_here(b, "FROM scratch\nCOPY . /\n")
        if changes == 1:
            assert found.read("/file") == "1"
            assert "Using cache" in (await build_here(b, "FROM scratch\nCOPY . /\n")).text
        else:
            assert "Dockerfile:2: file of the build context changes while it is read" in found.error["message"]

    inside()


@proves
async def test_a_mounted_context_is_a_copy_without_what_is_ignored(b):
    others = fill(b)
    text = """FROM busybox
RUN --mount=type=bind,target=/c,rw cd /c && ls hidden src && stat -c %u:%g:%a src/a && echo new >src/a && touch more
RUN --mount=type=bind,target=/a,source=src/a cat /a
RUN --mount=type=bind,from=other,target=/o cat /o/in/file && ! ls /o/in/not
RUN --mount=type=cache,from=other,target=/cache cat /cache/in/file && ! ls /cache/in/not
"""
    found = await build_here(b, text, others)
    assert found.error is None, found.error
    assert "hidden:\nseen\n" in found.text
    assert "0:0:4750" in found.text
    assert (b.context / "src/a").read_text() == "a"
    assert not (b.context / "more").exists()
    again = await build_here(b, text, others)
    assert again.text.count("Using cache") == 4
    b.write({"src/a": "changed"})
    assert "changed" in (await build_here(b, text, others)).text


@contextmanager
def relay(target, place):
    """Pass bytes, and nothing else, between clients at the socket `place` and the socket `target`."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            with socket.socket(socket.AF_UNIX) as engine:
                engine.connect(str(target))
                pairs = {self.request: engine, engine: self.request}
                while True:
                    for one in select.select(list(pairs), [], [])[0]:
                        data = one.recv(1 << 16)
                        if not data:
                            return
                        pairs[one].sendall(data)

    server = socketserver.ThreadingUnixStreamServer(str(place), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield EngineAddress(path=str(place), is_ours=True)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_engine_that_does_not_get_the_directory_is_sent_an_archive(home, busybox, tmp_path):
    home.skiff("engine", "start")
    (tmp_path / "Dockerfile").write_text("FROM busybox\nCOPY file /\n")
    (tmp_path / "file").write_text("content")
    call = BuildCall(tmp_path, "Dockerfile", {"plain": 1}, {}, {})
    own = Client(EngineAddress(path=str(home.run / "engine.sock"), is_ours=True))
    (made,) = (one["aux"]["ID"] for one in messages_of(own, call) if "aux" in one)
    with relay(home.run / "engine.sock", tmp_path / "relay.sock") as address:
        directory = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
        with pytest.raises(EngineError) as refused:
            list(Client(address).build_here({"": directory}, archive({}), call.query))
        assert refused.value.status == 501
        os.close(directory)
        assert {"aux": {"ID": made}} in list(messages_of(Client(address), call))
