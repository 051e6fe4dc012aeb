import bz2
import gzip
import http.server
import io
import os
import shutil
import stat
import subprocess
import tarfile
import threading
from contextlib import contextmanager

import anyio.to_thread
import pytest

from tests.integration.build.workbench import proves

pytestmark = pytest.mark.root


@contextmanager
def served(files):
    """Serve `files` over HTTP on loopback; give the address and the paths that were sent whole."""
    sent = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = files.get(self.path)
            tag = f'"{len(content or b"")}"'
            known = content is not None and self.headers.get("If-None-Match") == tag
            self.send_response(404 if content is None else 304 if known else 200)
            if content is not None and not known:
                sent.append(self.path)
                self.send_header("ETag", tag)
                self.send_header("Last-Modified", "Tue, 02 Jan 2024 03:04:05 GMT")
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if content is not None and not known:
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def archived(name, content, uid=7):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size, member.uid = len(content), uid
        archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


@proves
async def test_a_file_copied_to_a_link_goes_where_the_link_leads(b):
    b.write({"f": "new"})
    result = await b.build(
        "FROM busybox\nRUN mkdir /real && echo old > /real/file && ln -s real /dir && ln -s file /real/link && "
        "ln -s /nowhere/yet /open\nCOPY f /dir/link\nCOPY f /open\n"
    )
    assert result.read("/real/file") == "new"
    assert os.readlink(result.tree.find("/real/link", follow=False).location) == "file"
    assert result.read("/nowhere/yet") == "new"


@proves
async def test_a_copy_from_a_stage_keeps_what_a_file_is(b):
    result = await b.build(
        "FROM busybox AS made\nRUN echo x > /f && chown 5:6 /f && chmod 4755 /f && touch -d @1000000000 /f && "
        "mkdir -p /s && mkdir -m 2770 /s/d && chown 7:8 /s/d && mkfifo /s/d/p && ln -s /gone /s/d/l && chown -h 9:9 /s/d/l\n"
        "FROM scratch\nCOPY --from=made /f /g\nCOPY --from=made /s /e\n"
    )
    file = result.info("/g")
    assert (file.st_uid, file.st_gid, stat.S_IMODE(file.st_mode), file.st_mtime) == (5, 6, 0o4755, 1000000000)
    directory = result.info("/e/d")
    assert (directory.st_uid, directory.st_gid, stat.S_IMODE(directory.st_mode)) == (7, 8, 0o2770)
    assert stat.S_ISFIFO(result.info("/e/d/p").st_mode)
    assert result.info("/e/d/l").st_uid == 9


@proves
async def test_file_capabilities_survive_a_copy_and_its_layer(b):
    capability = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service=ep
    b.write({"f": "x"})
    os.setxattr(b.context / "f", "security.capability", capability)
    result = await b.build("FROM scratch AS a\nCOPY f /f\nFROM scratch\nCOPY --from=a /f /g\n")
    assert os.getxattr(result.tree.find("/g").location, "security.capability") == capability


@proves
async def test_workdir_belongs_to_the_user_of_the_stage(b):
    result = await b.build("FROM busybox\nWORKDIR /root-owned\nUSER app\nWORKDIR /a/b\nWORKDIR c\nRUN touch mine\n")
    assert [result.info(path).st_uid for path in ("/root-owned", "/a", "/a/b", "/a/b/c")] == [0, 1000, 1000, 1000]
    assert result.config["WorkingDir"] == "/a/b/c"
    assert result.info("/a/b/c/mine").st_uid == 1000


@proves
async def test_add_fetches_files_with_their_name_time_and_mode(b):
    with served({"/dir/file.txt": b"fetched"}) as (address, _):
        result = await b.build(
            f"FROM busybox\nADD {address}/dir/file.txt /got/\nADD --chmod=755 {address}/dir/file.txt /x\n"
        )
    file = result.info("/got/file.txt")
    assert result.read("/got/file.txt") == result.read("/x") == "fetched"
    assert (stat.S_IMODE(file.st_mode), file.st_mtime) == (0o600, 1704164645)
    assert stat.S_IMODE(result.info("/x").st_mode) == 0o755


@proves
async def test_an_unchanged_remote_file_is_not_sent_again(b):
    with served({"/f": b"one"}) as (address, sent):
        text = f"FROM busybox\nADD {address}/f /f\nRUN cat /f\n"
        first = await b.build(text)
        assert (await b.build(text)).image.id == first.image.id
        assert (sent, b.runner.runs) == (["/f"], 1)
        with served({"/f": b"three"}) as (other, _):
            assert (await b.build(text.replace(address, other))).read("/f") == "three"


@proves
async def test_a_checksum_is_held_to_and_saves_the_way(b):
    digest = "sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"  # of "one"
    with served({"/f": b"one", "/other": b"two"}) as (address, sent):
        text = f"FROM busybox\nADD --checksum={digest} {address}/f /f\n"
        assert (await b.build(text)).read("/f") == "one"
        await b.build(text)
        assert sent == ["/f"]
        wrong = await b.build(f"FROM busybox\nADD --checksum=sha256:{'0' * 64} {address}/other /f\n")
    assert "Dockerfile:2: digest mismatch" in wrong.error["message"]
    local = await b.build(f"FROM busybox\nADD --checksum={digest} Dockerfile /f\n")
    assert "checksum requires remote sources" in local.error["message"]


@proves
async def test_remote_archives_are_unpacked_only_when_asked(b):
    with served({"/a.tar": archived("in", b"side")}) as (address, _):
        result = await b.build(
            f"FROM busybox\nADD {address}/a.tar /kept/\nADD --unpack=true {address}/a.tar /open/\n"
            f"ADD --unpack=true --chown=app:extra {address}/a.tar /own/\n"
        )
    assert result.info("/kept/a.tar").st_size == 10240
    assert result.read("/open/in") == "side"
    assert (result.info("/open/in").st_uid, result.info("/own/in").st_uid) == (7, 1000)


@proves
async def test_a_remote_source_that_fails_is_reported_with_its_line(b):
    with served({}) as (address, _):
        missing = await b.build(f"FROM busybox\n\nADD {address}/gone /x\n")
        nameless = await b.build(f"FROM busybox\nADD {address}/ /x/\n")
    assert missing.error["message"].startswith(
        f"Dockerfile:3: failed to load {address}/gone: the server answered with status 404"
    )
    assert "status 404" in nameless.error["message"]
    unreachable = await b.build("FROM busybox\nADD http://127.0.0.1:1/x /x\n")
    assert "failed to load http://127.0.0.1:1/x: can't connect" in unreachable.error["message"]
    git = await b.build("FROM busybox\nADD https://127.0.0.1:1/x.git#main /x\n")
    assert "Dockerfile:2: the refs of https://127.0.0.1:1/x.git can't be read" in git.error["message"]


@proves
async def test_add_unpacks_every_compression_and_copies_what_only_looks_like_an_archive(b):
    plain = archived("in", b"side")
    (b.context / "a.bz2").write_bytes(bz2.compress(plain))
    (b.context / "a.zst").write_bytes(
        await anyio.to_thread.run_sync(
            lambda: subprocess.run([shutil.which("zstd"), "-q"], input=plain, capture_output=True, check=True).stdout
        )
    )
    (b.context / "text.gz").write_bytes(b"\x1f\x8b no archive")
    (b.context / "empty.tar.gz").write_bytes(b"")
    result = await b.build("FROM scratch\nADD a.bz2 /b/\nADD a.zst /z/\nADD text.gz empty.tar.gz /t/\n")
    assert result.read("/b/in") == result.read("/z/in") == "side"
    assert result.info("/t/text.gz").st_size == 13
    assert result.info("/t/empty.tar.gz").st_size == 0


@proves
async def test_an_archive_that_is_damaged_is_reported(b):
    (b.context / "a.tar.gz").write_bytes(gzip.compress(archived("in", os.urandom(100_000)))[:-1000])
    result = await b.build("FROM scratch\nADD a.tar.gz /\n")
    assert "Dockerfile:2: the archive cannot be read" in result.error["message"]
    assert b.leftovers == []


@proves
async def test_what_dockerignore_hides_is_not_shown_by_mounts_either(b):
    result = await b.build_stream(
        {
            "Dockerfile": "FROM busybox\nRUN --mount=target=/c find /c -type f | sort > /seen\n",
            ".dockerignore": "secret\ndeep/*\n!deep/kept\n",
            "secret": "s",
            "shown": "x",
            "deep/kept": "k",
            "deep/dropped/f": "d",
        }
    )
    assert result.read("/seen").split() == ["/c/.dockerignore", "/c/Dockerfile", "/c/deep/kept", "/c/shown"]


@proves
async def test_a_dockerfile_has_its_own_ignore_file(b):
    result = await b.build_stream(
        {
            "sub/build.Dockerfile": "FROM scratch\nCOPY . /\n",
            "sub/build.Dockerfile.dockerignore": "*\n!two\n",
            ".dockerignore": "two\n",
            "one": "1",
            "two": "2",
        },
        dockerfile="sub/build.Dockerfile",
    )
    assert [entry.path for entry in result.tree.children(result.tree.root)] == ["/two"]
