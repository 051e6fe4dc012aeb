"""BuildKit's API, by the clients that speak it: Debian's buildx, its bake, and docker compose's own builds."""

import contextlib
import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tarfile
import threading
from functools import partial
from pathlib import Path

import anyio
import pytest

from runtime.api.connection import ClientConnection
from runtime.api.intake import Intake, IntakeLimits
from runtime.buildkit.http2 import Http2
from runtime.buildkit.rpc import RpcError, ask
from runtime.buildkit.schema import message
from tests.support.project import eventually
from tests.support.registry import LocalRegistry

pytestmark = pytest.mark.root

DOCKER = os.environ.get("SKIFF_TEST_DOCKER") or shutil.which("docker")
TWO_STAGES = """
FROM busybox AS made
RUN mkdir /out && echo result > /out/file && ln -s file /out/link && chmod 4755 /out/file
FROM scratch
COPY --from=made /out /
"""


@pytest.fixture
def docker(docker_cli):
    return docker_cli


@pytest.fixture
def context(tmp_path):
    """Makes a build context of files; returns its directory."""

    def make(dockerfile, **files):
        (tmp_path / "Dockerfile").write_text(dockerfile)
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


def build(docker, folder, *arguments, **options):
    return docker("buildx", "build", "--progress=plain", *arguments, ".", cwd=folder, **options)


def test_an_image_is_built_and_a_second_time_taken_from_the_cache(docker, context):
    dockerfile = "FROM busybox\nARG WHO=nobody\nWORKDIR /app\nCOPY src src\nRUN cat src/a && echo by $WHO > /by\n"
    folder = context(dockerfile + 'CMD ["cat", "/by", "src/a"]\n', src__a="content\n")
    first = build(docker, folder, "-t", "bx:first", "--build-arg", "WHO=me", "--label", "made=here")
    assert re.search(r"\[2/4\] WORKDIR /app\n.*\[3/4\] COPY src src\n.*\[4/4\] RUN cat src/a", first, re.DOTALL)
    assert "naming to docker.io/library/bx:first" in first
    assert docker("run", "--rm", "bx:first") == "by me\ncontent\n"
    assert json.loads(docker("inspect", "bx:first"))[0]["Config"]["Labels"] == {"made": "here"}
    again = build(docker, folder, "-t", "bx:again", "--build-arg", "WHO=me", "--label", "made=here")
    assert again.count("CACHED") == 3
    ids = [json.loads(docker("inspect", name))[0]["Id"] for name in ("bx:first", "bx:again")]
    assert ids[0] == ids[1]


def test_only_what_changed_travels_again(docker, context, tmp_path):
    folder = context("FROM busybox\nCOPY . /all\n", **{f"f{number}": "x" * 1000 for number in range(200)})
    (folder / "link").symlink_to("f1")
    os.link(folder / "f2", folder / "hard")
    (folder / ".dockerignore").write_text("f3\n")
    sent = re.compile(r"transferring context: ([\d.]+)(\w*B)")
    first = sent.findall(build(docker, folder, "-t", "bx:ctx"))[-1]
    assert float(first[0]) > 100
    assert first[1] == "kB"
    assert not [one for one in sent.findall(build(docker, folder, "-t", "bx:ctx"))[1:] if one[1] == "kB"]
    (folder / "f1").write_text("changed")
    (folder / "f4").unlink()
    last = sent.findall(build(docker, folder, "-t", "bx:ctx"))
    assert ("7", "B") in last
    listed = docker("run", "--rm", "bx:ctx", "sh", "-c", "cd /all && cat link && ls f2 f3 f4 f5; stat -c %h hard")
    assert listed.startswith("changed")
    assert "f2\n" in listed
    assert "f5\n" in listed
    assert "f3: No such file" in listed
    assert "f4: No such file" in listed


def test_a_failure_shows_the_lines_of_the_dockerfile(docker, context):
    folder = context("FROM busybox\nRUN echo fine\nRUN cat /none && \\\n  echo never\n")
    said = build(docker, folder, code=1)
    assert "Dockerfile:3\n" in said
    assert re.search(r"3 \| >>> RUN cat /none && \\\n\s+4 \|", said)
    assert "can't open '/none'" in said
    assert "returned a non-zero code: 1" in said
    (folder / "Dockerfile").write_text("FROM busybox\nRUUN x\n")
    said = build(docker, folder, code=1)
    assert re.search(r'2 \| >>> RUUN x.*unknown instruction: RUUN\s+did you mean "RUN"\?', said, re.DOTALL)
    (folder / "Dockerfile").unlink()
    assert "open Dockerfile: no such file or directory" in build(docker, folder, code=1)


def test_warnings_and_checks_are_reported_with_their_lines(docker, context):
    folder = context("FROM busybox\nMAINTAINER me\nENTRYPOINT echo hi\n")
    assert "2 warnings found" in build(docker, folder)
    said = docker("buildx", "build", "--check", ".", cwd=folder, code=1)
    assert re.search(r"MaintainerDeprecated.*2 \| >>> MAINTAINER me", said, re.DOTALL)
    assert "b " in docker(
        "buildx", "build", "--call=targets", "-f", "-", ".", cwd=folder, input="FROM busybox AS b\nFROM b\n"
    )


def test_secrets_and_agents_of_the_client_reach_the_steps_that_want_them(docker, context, tmp_path):
    folder = context("FROM busybox\nRUN --mount=type=secret,id=token cat /run/secrets/token | rev\n")
    secret = tmp_path / "token"
    secret.write_text("terces")
    assert "secret" in build(docker, folder, "--no-cache", "--secret", f"id=token,src={secret}")
    agent = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(agent))
        listener.listen()
        threading.Thread(target=_answer_none, args=[listener], daemon=True).start()
        (folder / "Dockerfile").write_text(
            "FROM busybox\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo is there\n"
        )
        assert "is there" in build(docker, folder, "--no-cache", "--ssh", f"default={agent}")
        listener.shutdown(socket.SHUT_RDWR)


def _answer_none(listener):
    """Be an SSH agent without keys."""
    while True:
        try:
            peer, _ = listener.accept()
        except OSError:
            return
        with peer:
            if peer.recv(100):  # SSH_AGENT_IDENTITIES_ANSWER, with none
                peer.sendall(bytes([0, 0, 0, 5, 12, 0, 0, 0, 0]))


def test_named_contexts_are_directories_of_the_client_or_images(docker, context):
    folder = context("FROM busybox\nCOPY --from=more f /f\nRUN cat /f\n", more__f="of the context\n")
    assert "of the context" in build(docker, folder, "--build-context", "more=more")
    (folder / "Dockerfile").write_text("FROM more\nRUN echo on $(busybox | head -n 1)\n")
    assert "on BusyBox" in build(docker, folder, "--build-context", "more=docker-image://busybox")


def test_every_output_has_the_files(docker, context, tmp_path):
    folder = context(TWO_STAGES)
    out = tmp_path / "out"
    build(docker, folder, "-o", f"type=local,dest={out}")
    assert (out / "file").read_text() == "result\n"
    assert os.readlink(out / "link") == "file"
    assert (out / "file").stat().st_mode & 0o7777 == 0o4755
    build(docker, folder, "-o", f"type=tar,dest={out}.tar")
    with tarfile.open(f"{out}.tar") as tar:
        assert tar.extractfile("./file").read() == b"result\n"
    for kind in ("docker", "oci"):
        archive = tmp_path / f"{kind}.tar"
        build(docker, folder, "-t", "bx:archived", "-o", f"type={kind},dest={archive}")
        with tarfile.open(archive) as tar:
            assert json.load(tar.extractfile("manifest.json"))[0]["RepoTags"] == ["bx:archived"]
            assert json.load(tar.extractfile("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    assert docker("images", "-q", "bx:archived") == ""
    metadata, iid = tmp_path / "metadata", tmp_path / "iid"
    build(docker, folder, "-t", "bx:told", "--metadata-file", metadata, "--iidfile", iid)
    id = json.loads(docker("inspect", "bx:told"))[0]["Id"]
    assert iid.read_text() == id
    assert json.loads(metadata.read_text())["containerimage.config.digest"] == id
    assert docker("buildx", "build", "-q", ".", cwd=folder).strip() == id


def test_a_context_comes_as_an_archive_too(docker, context, tmp_path):
    folder = context("FROM busybox\nCOPY f hidden* /got/\nRUN ls /got\n", f="x", hidden="y")
    (folder / ".dockerignore").write_text("hidden\n")
    packed = subprocess.run(["tar", "-C", folder, "-c", "."], check=True, capture_output=True).stdout
    said = docker("buildx", "build", "--progress=plain", "-t", "bx:tar", "-", input=packed)
    assert docker("run", "--rm", "bx:tar", "ls", "/got") == "f\n", said


def test_an_interrupted_build_leaves_nothing_running(docker, context):
    folder = context("FROM busybox\nRUN echo begun && exec sleep 98765\n")
    client = subprocess.Popen(
        [DOCKER, "buildx", "build", "--progress=plain", "."],
        cwd=folder,
        env=docker.environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in client.stderr:
        if line.endswith(" begun\n"):
            break
    os.killpg(client.pid, signal.SIGINT)
    client.communicate(timeout=30)
    assert client.returncode != 0

    def runs():
        found = (path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
        return b"sleep\x0098765\x00" in found

    eventually(lambda: not runs(), 20, "the end of the step")


def test_bake_builds_what_targets_share_once(docker, context):
    folder = context(
        "FROM busybox AS shared\nRUN head -c 8 /dev/urandom | od -An -tx1 > /stamp\n"
        + "".join(f"FROM shared AS t{number}\nRUN echo {number} > /n\n" for number in range(3))
    )
    targets = {f"t{number}": {"target": f"t{number}", "tags": [f"bake:t{number}"]} for number in range(3)}
    bake = {"group": {"default": {"targets": list(targets)}}, "target": targets}
    (folder / "docker-bake.json").write_text(json.dumps(bake))
    docker("buildx", "bake", "--progress=plain", cwd=folder)
    said = [docker("run", "--rm", f"bake:t{number}", "cat", "/stamp", "/n").split("\n") for number in range(3)]
    assert len({stamp for stamp, *_ in said}) == 1
    assert [number for _, number, *_ in said] == ["0", "1", "2"]


def test_docker_compose_builds_and_brings_up(docker, context):
    folder = context("FROM busybox\nCOPY f /f\n", f="of the image\n")
    (folder / "compose.yaml").write_text("name: bx\nservices: {web: {build: ., command: cat /f}}\n")
    assert "of the image" in docker("compose", "up", "--build", cwd=folder)
    docker("compose", "down", cwd=folder)


def test_the_builder_shows_itself_its_cache_and_its_builds(docker, context):
    folder = context("FROM busybox\nRUN echo listed > /listed\n")
    build(docker, folder)
    assert re.search(r"default\s+running\s+v\d", docker("buildx", "ls"))
    assert "Total:" in docker("buildx", "du")
    assert "Completed" in docker("buildx", "history", "ls")
    assert "Total:" in docker("buildx", "prune", "-f")
    assert list((docker.home.root / "build-contexts").iterdir()) == []


def test_what_is_not_served_is_refused_by_name(docker, context):
    folder = context("# syntax=example.com/other/frontend:1\nFROM busybox\n")
    assert "example.com/other/frontend:1 is not run by this engine" in build(docker, folder, code=1)
    plain = context("FROM busybox\n")
    assert "build without --sbom" in build(docker, plain, "--sbom=true", code=1)
    assert "is no directory of the client's" in docker("buildx", "build", "https://example.com/x.tar", code=1)


def test_a_git_repository_is_a_context(docker, tmp_path):
    work, bare = tmp_path / "work", tmp_path / "repo.git"
    work.mkdir()
    (work / "sub").mkdir()
    (work / "sub" / "Dockerfile").write_text("FROM busybox\nCOPY file /\nCOPY --from=lib Dockerfile /lib\n")
    (work / "sub" / "file").write_text("content\n")
    target = {"context": "sub", "tags": ["bx:baked"], "contexts": {"lib": "sub"}}
    (work / "docker-bake.json").write_text(json.dumps({"target": {"sub": target}}))
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(work)]
    for arguments in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *arguments], check=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(bare)], check=True)
    subprocess.run(["git", "-C", str(bare), "update-server-info"], check=True)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            at = f"http://127.0.0.1:{server.server_port}"
            url = f"{at}/repo.git"
            docker("buildx", "build", "-t", "bx:git", "--build-context", f"lib={url}#main:sub", f"{url}#main:sub")
            # bake reads the definition that lies in a repository, or at an address, by raw definitions
            docker("buildx", "bake", f"{url}#main", "sub")
            assert docker("run", "--rm", "bx:baked", "cat", "/file") == "content\n"
            assert '"bx:baked"' in docker("buildx", "bake", "--print", f"{at}/work/docker-bake.json", "sub")
        finally:
            server.shutdown()
            thread.join()
    assert docker("run", "--rm", "bx:git", "cat", "/file") == "content\n"
    assert docker("run", "--rm", "bx:git", "head", "-n1", "/lib") == "FROM busybox\n"


@contextlib.asynccontextmanager
async def raw(docker):
    """A client of BuildKit's API as bytes go."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(docker.home.run / "engine.sock"))
        client = Http2(ClientConnection(peer, Intake(IntakeLimits())), is_client=True)
        async with anyio.create_task_group() as group:
            group.start_soon(client.run)
            with anyio.fail_after(30):
                yield client
            group.cancel_scope.cancel()


@pytest.mark.anyio
async def test_http2_is_spoken_from_the_first_byte_too(docker):
    async with raw(docker) as client:
        path, answer = "/moby.buildkit.v1.Control/Info", "moby.buildkit.v1.InfoResponse"
        info = await ask(client, path, message("moby.buildkit.v1.InfoRequest")(), answer)
    assert info.buildkitVersion.package == "skiff"


class Definition:
    """Operations that are written one by one, each with the results of others as its inputs."""

    def __init__(self):
        self.definition = message("pb.Definition")()

    def add(self, *inputs, **members):
        """Add an operation, given as its members; return its digest."""
        operation = message("pb.Op")(**members)
        for digest in inputs:
            operation.inputs.add(digest=digest)
        raw = operation.SerializeToString(deterministic=True)
        getattr(self.definition, "def").append(raw)
        return f"sha256:{hashlib.sha256(raw).hexdigest()}"

    def garbage(self):
        """Add bytes that are no operation."""
        getattr(self.definition, "def").append(b"\xff\xff\xff")
        return "sha256:none"

    def run(self, on, script, *mounts, inputs=(), **meta):
        """Run a script on a result."""
        about = {"args": ["sh", "-c", script], "env": ["PATH=/bin"], "cwd": "/", **meta}
        return self.add(on, *inputs, exec={"meta": about, "mounts": [{"dest": "/"}, *mounts]})

    def file(self, *inputs, **action):
        """Do one thing with files; -1 is nothing."""
        return self.add(*inputs, file={"actions": [action]})

    async def solve(self, client, wanted, name):
        """Have it run, the result of `wanted` stored as `name`."""
        self.add(wanted)
        request = message("moby.buildkit.v1.SolveRequest")(Ref=name, Definition=self.definition)
        request.Exporters.add(Type="image", Attrs={"name": name})
        await ask(client, "/moby.buildkit.v1.Control/Solve", request, "moby.buildkit.v1.SolveResponse")


@pytest.mark.anyio
async def test_low_level_definitions_are_run(docker):
    made = Definition()
    base = made.add(source={"identifier": "docker-image://docker.io/library/busybox:latest"})
    ran = made.run(base, "mkdir -p /d/e && echo $WHO ran > /d/e/file && id -u > /tmp/u", env=["PATH=/bin", "WHO=$me"])
    added = made.add(base, ran, diff={"lower": {"input": 0}, "upper": {"input": 1}})
    content = {"path": "/written", "mode": 0o600, "data": b"its $content\n", "timestamp": -1}
    file = made.file(input=-1, secondaryInput=-1, output=0, mkfile=content)
    directory = made.file(
        file,
        input=0,
        secondaryInput=-1,
        output=0,
        mkdir={"path": "/made/below", "mode": 0o755, "makeParents": True, "timestamp": -1},
    )
    copies = {
        "/whole": {"dirCopyContents": False},
        "/content": {"dirCopyContents": True},
    }
    for destination, how in copies.items():
        about = {"src": "/d", "dest": destination, "mode": -1, "timestamp": -1, **how}
        directory = made.file(directory, ran, input=0, secondaryInput=1, output=0, copy=about)
    about = {"src": "/d", "dest": "/made", "mode": -1, "timestamp": -1}
    directory = made.file(directory, ran, input=0, secondaryInput=1, output=0, copy=about)
    merged = made.add(base, added, directory, merge={"inputs": [{"input": number} for number in range(3)]})
    shown = {"input": 1, "dest": "/shown", "selector": "/d", "output": -1, "readonly": True}
    last = made.run(merged, "cat /shown/e/file > /seen", shown, inputs=[ran], user="1000:1000", cwd="/tmp/work")
    last = made.run(merged, "cat /shown/e/file > /seen; pwd > /place", shown, inputs=[ran], cwd="/tmp/work")
    before = set(docker("images", "-aq").split())
    async with raw(docker) as client:
        await made.solve(client, last, "bx:llb")
    assert set(docker("images", "-aq").split()) - before == set(docker("images", "-q", "bx:llb").split())
    script = "cat /seen /place /written; find /whole /content /made; stat -c %a /written; busybox ls -d /tmp/u"
    assert docker("run", "--rm", "bx:llb", "/bin/busybox", "sh", "-c", script).splitlines() == [
        "$me ran", "/tmp/work", "its $content", "/whole", "/whole/e", "/whole/e/file", "/content", "/content/e",
        "/content/e/file", "/made", "/made/below", "/made/d", "/made/d/e", "/made/d/e/file", "600", "/tmp/u",
    ]  # fmt: skip


BROKEN_OPERATIONS = [
    {"merge": {"inputs": [{"input": 7}]}},
    {"merge": {"inputs": [{"input": -2}]}},
    {"diff": {"lower": {"input": -7}, "upper": {"input": 3}}},
    {"exec": {"meta": {"args": ["x"]}}},
    {"exec": {"meta": {"args": ["x"]}, "mounts": [{"dest": "/", "input": -3}]}},
    {"file": {"actions": []}},
    {"file": {"actions": [{"input": 9, "mkfile": {"path": "/x"}}]}},
    {"file": {"actions": [{"input": -1, "secondaryInput": -1, "copy": {"src": "/x"}}]}},
    {"source": {"identifier": "local://x", "attrs": {"local.excludepatterns": "{"}}},
    {"source": {"identifier": "http://127.0.0.1:9/x", "attrs": {"http.perm": "x"}}},
]


@pytest.mark.anyio
async def test_low_level_definitions_that_make_no_sense_are_refused(docker):
    broken = [(lambda made, member=member: made.add(**member)) for member in BROKEN_OPERATIONS]
    broken.append(lambda made: made.garbage())
    for number, add in enumerate(broken):
        made = Definition()
        async with raw(docker) as client:
            with pytest.raises(RpcError, match="definition") as refused:
                await made.solve(client, add(made), f"bx:broken-{number}")
        assert refused.value.code == 3, number  # INVALID_ARGUMENT


@pytest.mark.anyio
async def test_low_level_operations_that_are_not_run_are_named(docker):
    for name, member in (
        ("the file operation 'rm'", {"file": {"actions": [{"input": -1, "rm": {"path": "/x"}}]}}),
        ("the operation 'build'", {"build": {"builder": 0}}),
        ("the source blob://", {"source": {"identifier": "blob://x"}}),
        ("a command with exit codes of its own", {"exec": {"meta": {"args": ["x"], "validExitCodes": [1]}}}),
    ):
        made = Definition()
        wanted = made.add(**member)
        async with raw(docker) as client:
            with pytest.raises(RpcError, match=rf"\(LLB\): {name}.* is not run by this engine"):
                await made.solve(client, wanted, "bx:refused")


def test_what_a_bases_triggers_copy_travels_too(docker, context):
    folder = context("FROM busybox\nONBUILD COPY brought /brought\n", brought="content\n")
    build(docker, folder, "-t", "bx:triggers")
    (folder / "Dockerfile").write_text("FROM bx:triggers\nLABEL a=b\n")
    build(docker, folder, "-t", "bx:triggered")
    assert docker("run", "--rm", "bx:triggered", "cat", "/brought") == "content\n"
    (folder / "Dockerfile").write_text("FROM busybox AS x\nONBUILD COPY brought /y\nFROM x\n")
    build(docker, folder, "-t", "bx:triggered")
    assert docker("run", "--rm", "bx:triggered", "cat", "/y") == "content\n"


def test_mounts_that_are_not_required_may_be_missing_and_sources_name_secrets(docker, context):
    folder = context(
        'FROM busybox\nRUN --mount=type=ssh test -z "$SSH_AUTH_SOCK"\n'
        "RUN --mount=type=secret,source=s grep content /run/secrets/s\n"
        "RUN test $(hostname) = named\nRUN ! touch /etc/hosts\n",
        secret="content\n",
    )
    build(docker, folder, "--secret", "id=s,src=secret", "--build-arg", "BUILDKIT_SANDBOX_HOSTNAME=named")


def test_ignored_paths_may_begin_with_a_slash(docker, context):
    folder = context("FROM busybox\nRUN --mount=target=/c ls /c > /list\n", ignored__file="x", kept="y")
    (folder / ".dockerignore").write_text("/ignored\n")
    build(docker, folder, "-t", "bx:ignored")
    assert docker("run", "--rm", "bx:ignored", "cat", "/list").split() == ["Dockerfile", "kept"]


def test_a_step_of_any_user_reads_what_is_mounted(docker, context):
    folder = context("FROM busybox\nUSER 1000\nRUN --mount=target=/c cat /c/file > /tmp/read\n", file="content\n")
    build(docker, folder, "-t", "bx:any")
    assert docker("run", "--rm", "bx:any", "cat", "/tmp/read") == "content\n"


def test_the_cache_is_left_aside_for_single_stages(docker, context):
    folder = context(
        "FROM busybox AS one\nRUN echo 1 > /1\nFROM busybox AS two\nRUN echo 2 > /2\n"
        "FROM one\nCOPY --from=two /2 /\nRUN cat /1 /2\n"
    )
    build(docker, folder)
    again = build(docker, folder, "--no-cache-filter", "two")
    assert re.search(r"\[one 2/2\] RUN echo 1 > /1\n#\d+ CACHED", again)
    assert re.search(r"\[two 2/2\] RUN echo 2 > /2\n#\d+ DONE", again)
    assert "CACHED" not in build(docker, folder, "--no-cache")


def layout(path):
    """Return how to read the blobs of an OCI layout by digest, and the entries of its index."""
    archive = tarfile.open(path)  # noqa: SIM115 - read through the whole test

    def blob(digest):
        return json.load(archive.extractfile(f"blobs/{digest.replace(':', '/')}"))

    return blob, json.load(archive.extractfile("index.json"))["manifests"]


PLATFORMS = "FROM scratch\nARG TARGETARCH\nCOPY file /file-$TARGETARCH\nLABEL arch=$TARGETARCH\n"


def test_one_image_for_several_platforms(docker, context, tmp_path):
    folder = context(PLATFORMS, file="x")
    target = tmp_path / "out.tar"
    arguments = ["--platform", "linux/amd64,linux/arm64/v8", "-t", "bx:both"]
    build(docker, folder, *arguments, "--output", f"type=oci,dest={target}")
    blob, (entry,) = layout(target)
    assert entry["annotations"]["io.containerd.image.name"] == "docker.io/library/bx:both"
    members = blob(entry["digest"])["manifests"]
    assert [one["platform"]["architecture"] for one in members] == ["amd64", "arm64"]
    for one in members:
        config = blob(blob(one["digest"])["config"]["digest"])
        assert config["config"]["Labels"] == {"arch": one["platform"]["architecture"]}
        assert config["architecture"] == one["platform"]["architecture"]
    said = build(docker, folder, *arguments, code=1)
    assert "the engine's store has room for one platform, and the image is for linux/amd64, linux/arm64" in said
    assert "--output type=oci" in said


@pytest.mark.parametrize("mode", ["min", "max"])
def test_provenance_says_how_an_image_was_built(docker, context, tmp_path, mode):
    folder = context("FROM busybox\nARG SECRETIVE\nCOPY file /\n", file="x")
    target = tmp_path / "out.tar"
    arguments = ["--provenance", f"mode={mode}", "--build-arg", "SECRETIVE=value", "-t", "bx:proven"]
    build(docker, folder, *arguments, "--output", f"type=oci,dest={target}")
    blob, (entry,) = layout(target)
    image, about = blob(entry["digest"])["manifests"]
    assert about["platform"] == {"architecture": "unknown", "os": "unknown"}
    assert about["annotations"] == {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image["digest"],
    }
    (layer,) = blob(about["digest"])["layers"]
    assert layer["annotations"] == {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"}
    told = blob(layer["digest"])
    assert told["subject"][0]["digest"] == {"sha256": image["digest"].removeprefix("sha256:")}
    assert told["subject"][0]["name"] == "pkg:docker/bx@proven?platform=linux%2Famd64"
    predicate = told["predicate"]
    assert predicate["materials"][0]["uri"] == "pkg:docker/busybox@latest?platform=linux%2Famd64"
    arguments = predicate["invocation"]["parameters"]["args"]
    assert (arguments.get("build-arg:SECRETIVE") == "value") is (mode == "max")
    details = predicate["metadata"]["https://mobyproject.org/buildkit@v1#metadata"]
    assert ("source" in details) is (mode == "max")


def test_attestations_that_are_not_made_are_refused(docker, context):
    folder = context("FROM busybox\nLABEL a=b\n")
    assert "scans no images for SBOM attestations: build without --sbom" in build(docker, folder, "--sbom=true", code=1)
    assert "invalid provenance mode 'most'" in build(docker, folder, "--provenance", "mode=most", code=1)


def test_an_index_with_provenance_is_pushed_and_pulled(docker, context):
    folder = context(PLATFORMS, file="x")
    registry = LocalRegistry()
    try:
        name = f"{registry.domain}/bx/both:1"
        platforms = ["--platform", "linux/amd64,linux/arm64"]
        build(docker, folder, *platforms, "--provenance", "version=v1", "--push", "-t", name)
        told = docker("buildx", "imagetools", "inspect", name)
        assert "application/vnd.oci.image.index.v1+json" in told
        assert {"linux/amd64", "linux/arm64", "unknown/unknown"} <= set(re.findall(r"Platform: +(\S+)", told))
        shown = docker("buildx", "imagetools", "inspect", name, "--format", "{{json .Provenance}}")
        assert json.loads(shown)["linux/arm64"]["SLSA"]["buildDefinition"]["externalParameters"]["request"]
        docker("pull", "-q", "--platform", "linux/arm64", name)
        assert json.loads(docker("inspect", name))[0]["Config"]["Labels"] == {"arch": "arm64"}
    finally:
        registry.stop()


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_cache_goes_to_a_registry_and_comes_back(docker, context, mode):
    folder = context(
        f"FROM busybox AS made\nRUN echo {mode} > /made\nFROM busybox\nCOPY --from=made /made /\nRUN echo own > /own\n"
    )
    registry = LocalRegistry()
    try:
        name = f"{registry.domain}/bx/cache:{mode}"
        build(docker, folder, "--cache-to", f"type=registry,ref={name},mode={mode}")
        docker("builder", "prune", "-af")
        docker("image", "prune", "-f")
        assert "CACHED" not in build(docker, folder)
        docker("builder", "prune", "-af")
        docker("image", "prune", "-f")
        again = build(docker, folder, "--cache-from", f"type=registry,ref={name}")
        # without the steps of other stages, what was copied from them is made again, and found to be the same
        assert again.count("CACHED") == (3 if mode == "max" else 2), again
        said = build(docker, folder, "--cache-to", "type=elsewhere", code=1)
        assert "use --cache-to type=registry,ref=NAME or type=local,dest=DIRECTORY" in said
    finally:
        registry.stop()


def forget(docker):
    docker("builder", "prune", "-af")
    docker("image", "prune", "-f")


@pytest.mark.parametrize(("mode", "cached"), [("min", 2), ("max", 3)])
def test_a_cache_goes_to_a_directory_of_the_client_and_comes_back(docker, context, tmp_path, mode, cached):
    folder = context(
        f"FROM busybox AS made\nRUN echo local {mode} > /made\nFROM busybox\n"
        "COPY --from=made /made /\nRUN echo own > /own\n"
    )
    directory = tmp_path / "cache of a client"
    to = ["--cache-to", f"type=local,dest={directory},mode={mode}"]
    build(docker, folder, "-t", "bx:cached")
    before = set(docker("images", "-aq").split())
    build(docker, folder, "-t", "bx:cached", *to)
    assert set(docker("images", "-aq").split()) == before
    listed = json.loads((directory / "index.json").read_text())["manifests"]
    assert [one["annotations"]["org.opencontainers.image.ref.name"] for one in listed] == ["latest"]
    blobs = set((directory / "blobs/sha256").iterdir())
    for blob in blobs:
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    docker("rmi", "bx:cached")
    forget(docker)
    again = build(docker, folder, "--cache-from", f"type=local,src={directory}", *to)
    assert again.count("CACHED") == cached, again
    assert "importing cache manifest from local:" in again
    if mode == "max":  # everything came from there
        assert set((directory / "blobs/sha256").iterdir()) == blobs
        assert json.loads((directory / "index.json").read_text())["manifests"] == listed


def test_a_cache_that_is_damaged_is_shown_and_the_build_goes_on_without(docker, context, tmp_path):
    folder = context("FROM busybox\nRUN echo damaged > /damaged\n")
    directory = tmp_path / "cache"
    said = build(docker, folder, "--cache-from", f"type=local,src={directory}")
    assert "RUN echo damaged" in said
    build(docker, folder, "--cache-to", f"type=local,dest={directory}")
    largest = max((directory / "blobs/sha256").iterdir(), key=lambda blob: blob.stat().st_size)
    largest.write_bytes(b"x" * largest.stat().st_size)
    index = json.loads((directory / "index.json").read_text())["manifests"][0]["digest"]
    (directory / "blobs/sha256" / index.removeprefix("sha256:")).write_bytes(b"{}")
    forget(docker)
    said = build(docker, folder, "--cache-from", f"type=local,src={directory}")
    assert f"blob {index} of {directory} has other content" in said
    assert "CACHED" not in said


def test_the_cache_of_another_platform_is_found_again(docker, context, tmp_path):
    folder = context("FROM scratch\nCOPY f /\n", f="for arm\n")
    directory = tmp_path / "cache"
    arm = ["--platform", "linux/arm64"]
    build(docker, folder, *arm, "--cache-to", f"type=local,dest={directory},mode=max")
    forget(docker)
    again = build(docker, folder, *arm, "--cache-from", f"type=local,src={directory}")
    assert again.count("CACHED") == 1, again


def test_an_oci_layout_of_the_client_is_a_named_context(docker, context, tmp_path):
    folder = context("FROM busybox\nENV OF=layout\nRUN echo in the layout > /file\n")
    archive, layout = tmp_path / "archive", tmp_path / "layout"
    build(docker, folder, "-o", f"type=oci,dest={archive}")
    with tarfile.open(archive) as tar:
        tar.extractall(layout, filter="data")
    index = json.loads((layout / "index.json").read_text())
    index["manifests"][0]["annotations"] = {"org.opencontainers.image.ref.name": "one"}
    (layout / "index.json").write_text(json.dumps(index))
    digest = index["manifests"][0]["digest"]
    docker("builder", "prune", "-af")
    (folder / "Dockerfile").write_text("FROM base\nRUN echo $OF > /of\nCOPY --from=other /file /copied\n")
    contexts = ["--build-context", f"base=oci-layout://{layout}:one"]
    contexts += ["--build-context", f"other=oci-layout://{layout}@{digest}"]
    build(docker, folder, *contexts, "-t", "bx:layout")
    assert docker("run", "--rm", "bx:layout", "cat", "/of", "/copied") == "layout\nin the layout\n"
    missing = ["--build-context", f"base=oci-layout://{layout}@sha256:{'0' * 64}", "--build-context", "other=."]
    said = build(docker, folder, *missing, code=1)
    assert f"no blob sha256:{'0' * 64}" in said


def test_a_target_of_bake_is_the_context_of_another(docker, tmp_path):
    base = {"dockerfile-inline": "FROM busybox\nENV BASE=1\nRUN echo base > /base\n"}
    app = {
        "dockerfile-inline": "FROM base\nRUN cat /base > /app; echo $BASE >> /app\n",
        "contexts": {"base": "target:base"},
        "tags": ["bx:app"],
    }
    (tmp_path / "docker-bake.json").write_text(json.dumps({"target": {"base": base, "app": app}}))
    docker("buildx", "bake", "--progress=plain", "app", cwd=tmp_path)
    assert docker("run", "--rm", "bx:app", "cat", "/app") == "base\n1\n"
