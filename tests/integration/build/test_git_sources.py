"""ADD and named contexts that are Git repositories, fetched from a real server by the real git program."""

import functools
import http.server
import os
import subprocess
import threading

import anyio
import pytest

from tests.integration.build.workbench import copying_bench

pytestmark = pytest.mark.root
WHO = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@pytest.fixture
def repository(tmp_path):
    """A repository with two commits, behind HTTP as plain files (which gives no shallow clones); yields its URL, commits."""
    work, bare = tmp_path / "work", tmp_path / "repo.git"

    def git(*arguments, cwd=work):
        isolated = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(
            ["git", *arguments],
            cwd=cwd,
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, **WHO, **isolated},
        )
        return done.stdout.strip()

    (work / "sub").mkdir(parents=True)
    git("init", "-q", "-b", "main")
    (work / "file").write_text("one\n")
    (work / "sub" / "run").write_text("#!/bin/sh\n")
    (work / "sub" / "run").chmod(0o700)
    (work / "link").symlink_to("file")
    git("add", ".")
    git("commit", "-qm", "one")
    git("tag", "v1")
    (work / "file").write_text("two\n")
    git("commit", "-qam", "two")
    commits = git("rev-parse", "v1", "main").split()
    git("clone", "-q", "--bare", str(work), str(bare))
    git("update-server-info", cwd=bare)
    handler = functools.partial(_Quiet, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/repo.git", commits
        server.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def in_bench(test):
    async def inside():
        async with copying_bench() as made:
            await test(made)
            assert made.leftovers == []

    anyio.run(inside)


def test_a_repository_is_copied_without_its_history(repository):
    url, _ = repository

    async def test(bench):
        result = await bench.build(f"FROM scratch\nADD {url} /src\n")
        assert result.read("/src/file") == "two\n"
        assert result.info("/src/sub/run").st_mode & 0o777 == 0o755
        assert result.info("/src/file").st_mode & 0o777 == 0o644
        assert os.readlink(result.tree.find("/src/link", follow=False).location) == "file"
        assert result.tree.find("/src/.git") is None
        kept = await bench.build(f"FROM scratch\nADD --keep-git-dir=true {url}#v1 /src\n")
        assert kept.tree.find("/src/.git/HEAD") is not None
        assert kept.read("/src/file") == "one\n"

    in_bench(test)


def test_refs_folders_and_checksums_select(repository):
    url, (first, second) = repository

    async def test(bench):
        for address in (f"{url}#v1", f"{url}?tag=v1", f"{url}#{first}", f"{url}?ref=v1&commit={first[:10]}"):
            assert (await bench.build(f"FROM scratch\nADD {address} /\n")).read("/file") == "one\n"
        result = await bench.build(f"FROM scratch\nADD --chown=3:4 --exclude=nothing {url}#main:sub /x\n")
        info = result.info("/x/run")
        assert (info.st_uid, info.st_gid) == (3, 4)
        assert result.tree.find("/x/file") is None
        wrong = await bench.build(f"FROM scratch\nADD --checksum={second} {url}#v1 /\n")
        assert f"expected checksum to match {second}, got {first}" in wrong.error["message"]
        missing = await bench.build(f"FROM scratch\nADD {url}#:nope /\n")
        assert "invalid subdir 'nope'" in missing.error["message"]
        unknown = await bench.build(f"FROM scratch\nADD {url}#nope /\n")
        assert "does not contain ref nope\n    it has main, v1" in unknown.error["message"]

    in_bench(test)


def test_a_step_is_cached_as_long_as_the_commit_is_the_same(repository):
    url, (first, _) = repository

    async def test(bench):
        one = await bench.build(f"FROM scratch\nADD {url}#v1 /\n")
        again = await bench.build(f"FROM scratch\nADD {url}#{first} /\n")
        assert again.image.diff_ids == one.image.diff_ids
        assert "Using cache" in again.text
        other = await bench.build(f"FROM scratch\nADD {url} /\n")
        assert "Using cache" not in other.text

    in_bench(test)


def test_a_named_context_may_be_a_repository(repository):
    url, _ = repository

    async def test(bench):
        contexts = {"lib": f"{url}#v1"}
        result = await bench.build("FROM scratch\nCOPY --from=lib file /x\n", contexts=contexts)
        assert result.read("/x") == "one\n"

    in_bench(test)


def test_without_the_git_program_the_cure_is_reported(repository, monkeypatch):
    url, _ = repository
    monkeypatch.setenv("PATH", "/nowhere")

    async def test(bench):
        result = await bench.build(f"FROM scratch\nADD {url} /\n")
        assert "needs the git program, which is not installed" in result.error["message"]
        assert "install git on this machine" in result.error["message"]

    in_bench(test)


def test_over_ssh_an_agent_is_needed():
    async def test(bench):
        result = await bench.build("FROM scratch\nADD git@127.0.0.1:user/repo.git /\n")
        assert "no SSH agent 'default'" in result.error["message"]

    in_bench(test)
