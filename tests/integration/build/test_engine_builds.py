"""Builds by the engine, as `skiff build` and the API ask for them."""

import base64
import json
import os
import select
import signal
import socket
import tarfile
import threading

import pytest

from runtime.errors import SkiffError
from tests.support.engine import Engine
from tests.support.registry import USERS, LocalRegistry

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def engine(shared_home, busybox_tar):
    shared_home.skiff("image", "load", "-i", busybox_tar)
    return Engine(shared_home)


def compose(folder, text, **files):
    (folder / "compose.yaml").write_text(text)
    for name, content in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def test_a_build_section_is_carried_out_to_the_letter(engine, tmp_path):
    compose(
        tmp_path,
        """
name: letter
services:
  base:
    image: letter-base
    build: {dockerfile_inline: "FROM busybox\\nRUN echo base > /base\\n"}
  web:
    image: letter-web
    build:
      context: app
      args: {A: given}
      labels: {l: "1"}
      tags: ["letter-web:extra"]
      network: none
      shm_size: 3m
      extra_hosts: ["other:10.1.2.3"]
      ulimits: {nofile: {soft: 123, hard: 456}}
      secrets: [from_file, {source: from_environment, target: token}]
      additional_contexts: {lib: ./lib, base: "service:base"}
      entitlements: [network.host, security.insecure]
      dockerfile_inline: |
        FROM base
        ARG A
        COPY --from=lib f /lib
        COPY . /app
        RUN --mount=type=secret,id=from_file --mount=type=secret,id=token,env=TOKEN \\
            (cat /run/secrets/from_file; echo $$TOKEN $$A; ulimit -n; ulimit -Hn; grep other /etc/hosts; \\
             df -k /dev/shm | tail -1 | awk '{print $$2}'; ls /sys/class/net; cat /base) > /got
        RUN grep -q " /sys/fs/cgroup" /proc/mounts
        RUN --network=host readlink /proc/self/ns/net > /net
        RUN --security=insecure mount -t tmpfs t /mnt 2>/dev/null || mkdir /mnt; mount -t tmpfs t /mnt && echo mounted > /free
secrets:
  from_file: {file: ./secret}
  from_environment: {environment: TOKEN}
""",
        app__file="app",
        lib__f="lib",
        secret="from file\n",
        app__unseen="unseen",
        **{"app__.dockerignore": "# mine\nunseen\n"},
    )
    engine.home.skiff("build", "web", cwd=tmp_path, env={"TOKEN": "from environment"})
    said = engine.run("cat /got /lib /app/file /free; ls -A /app; cat /net", image="letter-web:extra").splitlines()
    namespace = os.readlink("/proc/self/ns/net")
    assert said == [
        "from file", "from environment given", "123", "456", "10.1.2.3\tother", "3072", "lo", "base", "libappmounted",
        ".dockerignore", "file", namespace,
    ]  # fmt: skip
    assert engine.run("cat /app/.dockerignore", image="letter-web") == "# mine\nunseen\n"
    assert engine.client.image("letter-web")["Config"]["Labels"]["l"] == "1"


def test_what_a_dockerfile_may_not_have_is_refused_with_the_cure(engine, tmp_path):
    compose(
        tmp_path,
        'name: refused\nservices: {web: {build: {dockerfile_inline: "FROM busybox\\nRUN --network=host true\\n"}}}\n',
    )
    refused = engine.home.skiff("build", cwd=tmp_path, check=False)
    assert refused.returncode == 1
    assert "Dockerfile:2: network.host is not allowed" in refused.stderr
    assert "`entitlements: [network.host]` under `build:`" in refused.stderr


def context(folder, dockerfile):
    (folder / "Dockerfile").write_text(dockerfile)
    with tarfile.open(folder / "context.tar", "w") as tar:
        tar.add(folder / "Dockerfile", "Dockerfile")
    return (folder / "context.tar").read_bytes()


def begun(engine, data):
    """Ask for a build; return the connection once a step has said so."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(engine.home.run / "engine.sock"))
    connection.sendall(b"POST /build?t=given-up HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
    said = b""
    while b'"stream":"begun' not in said.replace(b" ", b""):
        piece = connection.recv(65536)
        assert piece, said
        said += piece
    return connection


def process_with(word):
    """Return a pidfd of the step's shell, which has `word` in its command line."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                arguments = file.read().split(b"\0")
            if arguments[:2] == [b"/bin/sh", b"-c"] and word in arguments[2].decode():
                return os.pidfd_open(int(pid))
        except (FileNotFoundError, ProcessLookupError):
            continue
    raise AssertionError(f"no process with {word}")


def awaits_end(pidfd):
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    ended = bool(poll.poll(20_000))
    os.close(pidfd)
    return ended


def test_a_step_ends_when_who_asked_for_it_goes(engine, tmp_path):
    data = context(tmp_path, "FROM busybox\nRUN echo begun && trap '' TERM && sleep 98765; true\n")
    connection = begun(engine, data)
    process = process_with("98765")
    connection.close()
    assert awaits_end(process)
    # another build, which ends only when the first one's rest is gone: its step has the same key
    quick = context(tmp_path, "FROM busybox\nRUN true\n")
    assert not [m for m in engine.client.build([quick], {"t": "after"}) if "error" in m]
    leftovers = [name for name in os.listdir(engine.home.root / "tmp") if name.startswith("build-")]
    assert leftovers == []


def test_a_killed_engine_leaves_no_half_made_image(home, busybox_tar, tmp_path):
    home.skiff("image", "load", "-i", busybox_tar)
    engine = Engine(home)
    text = "FROM busybox\nRUN echo one > /one\nRUN echo begun && test ! -e /sys/never && sleep 87654; true\n"
    connection = begun(engine, context(tmp_path, text))
    process = process_with("87654")
    pid = home.get("/skiff/v1/engine")["engine_pid"]
    os.kill(pid, signal.SIGKILL)
    connection.close()
    home.skiff("engine", "start")
    assert awaits_end(process)
    assert os.listdir(home.root / "tmp") == []
    names = [name for image in home.get("/images/json") for name in image["RepoTags"]]
    assert names == ["busybox:latest"]
    told = list(engine.client.build([context(tmp_path, text.replace("sleep 87654", "true"))], {"t": "made"}))
    assert "Using cache" in json.dumps(told)
    assert engine.run("cat /one", image="made") == "one\n"


def test_services_built_at_once_do_what_they_share_once(engine, tmp_path):
    compose(
        tmp_path,
        """
name: shared
x-build: &build
  dockerfile_inline: |
    FROM busybox AS base
    RUN --mount=type=cache,target=/count echo x >> /count/runs && sleep 0.3 && cp /count/runs /runs
    FROM base AS one
    RUN echo one > /own
    FROM base AS two
    RUN echo two > /own
services:
  one: {build: {<<: *build, target: one}}
  two: {build: {<<: *build, target: two}}
""",
    )
    threads = [
        threading.Thread(target=engine.home.skiff, args=("build", name), kwargs={"cwd": tmp_path})
        for name in ("one", "two")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engine.run("cat /runs /own", image="shared-one") == "x\none\n"
    assert engine.run("cat /runs /own", image="shared-two") == "x\ntwo\n"


@pytest.fixture
def private(engine, monkeypatch, tmp_path):
    """A registry that wants a password, with busybox as base, tool, seed and cached; the folder of a configuration."""
    registry = LocalRegistry(USERS)
    folder = tmp_path / "docker"
    folder.mkdir()
    auth = base64.b64encode(b"user:secret").decode()
    (folder / "config.json").write_text(json.dumps({"auths": {registry.domain: {"auth": auth}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    for name in ("base", "tool", "seed", "cached"):
        engine.client.tag("busybox", f"{registry.domain}/{name}", "1")
        assert not [m for m in engine.client.push(f"{registry.domain}/{name}:1") if "error" in m]
        engine.client.remove_image(f"{registry.domain}/{name}:1")
    yield registry, folder
    registry.stop()


def test_private_images_are_had_with_the_clients_credentials(engine, private, tmp_path):
    registry, folder = private
    compose(
        tmp_path,
        f"""
name: private
services:
  web:
    build:
      cache_from: ["{registry.domain}/cached:1"]
      dockerfile_inline: |
        FROM {registry.domain}/base:1
        COPY --from={registry.domain}/tool:1 /etc/group /got
        RUN --mount=from={registry.domain}/seed:1,target=/seed cat /seed/etc/passwd >> /got
""",
    )
    nobody = tmp_path / "nobody"
    nobody.mkdir()
    refused = engine.home.skiff("build", cwd=tmp_path, check=False, env={"DOCKER_CONFIG": str(nobody)})
    assert refused.returncode == 1
    assert f"Dockerfile:1: pull access denied for {registry.domain}/base" in refused.stderr
    assert f"docker login {registry.domain}" in refused.stderr

    helpers = tmp_path / "helpers"
    helpers.mkdir()
    for name, answer in (("works", '{"Username": "user", "Secret": "secret"}'), ("breaks", "")):
        program = helpers / f"docker-credential-{name}"
        program.write_text(f"#!/bin/sh\ncat > /dev/null\necho '{answer}'\n")
        program.chmod(0o755)
    with_helper = {"credHelpers": {registry.domain: "works", "other.example": "breaks", "third.example": "missing"}}
    (folder / "config.json").write_text(json.dumps(with_helper))
    env = {"DOCKER_CONFIG": str(folder), "PATH": f"{helpers}:{os.environ['PATH']}"}
    built = engine.home.skiff("build", "--no-cache", cwd=tmp_path, env=env)
    for problem in ("docker-credential-breaks printed invalid JSON", "docker-credential-missing is not installed"):
        assert problem in built.stdout + built.stderr
    assert "nothing is taken from" not in built.stdout + built.stderr
    said = engine.run("cat /got", image="private-web")
    assert "extra:x:2000:app" in said
    assert "app:x:1000:1000" in said


def test_an_image_that_copy_names_shows_why_it_cannot_be_had(engine, private, tmp_path, monkeypatch):
    registry, _ = private
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    for line in (
        f"COPY --from={registry.domain}/tool:2 / /x",
        f"RUN --mount=from={registry.domain}/tool:2,target=/x :",
    ):
        data = context(tmp_path, f"FROM busybox\n{line}\n")
        with pytest.raises(SkiffError, match=r"/tool:2' is no earlier stage.*pull access denied"):
            list(engine.client.build([data], {}))
