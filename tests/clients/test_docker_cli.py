"""The stock docker command line client, pointed at our engine, does what it does with Docker's."""

import json
import os
import pty
import select
import shutil
import subprocess
import time
import urllib.request

import pytest

from tests.conftest import Home
from tests.support.project import eventually

pytestmark = pytest.mark.root

DOCKER = os.environ.get("SKIFF_TEST_DOCKER") or shutil.which("docker")


@pytest.fixture(scope="module")
def engine(shared_home, busybox_tar):
    if not DOCKER:
        pytest.skip("no docker client: `.ci/docker-cli` provides one")
    shared_home.skiff("image", "load", "-i", busybox_tar)
    return shared_home


@pytest.fixture
def docker(engine: Home):
    def run(*arguments, check=True, input=None, timeout=60):
        result = subprocess.run(
            [DOCKER, *arguments],
            env={**os.environ, "DOCKER_HOST": engine.host, "DOCKER_BUILDKIT": "0", "DOCKER_CLI_HINTS": "false"},
            capture_output=True,
            text=True,
            timeout=timeout,
            input=input,
        )
        if check:
            assert result.returncode == 0, f"docker {arguments}: {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result

    yield run
    left = run("ps", "-aq").stdout.split()
    if left:
        run("rm", "-f", "-v", *left)


def on_terminal(engine, *arguments, typed=b""):
    """Run the client on a pseudo-terminal; return its exit code and what the terminal showed."""
    environment = {**os.environ, "DOCKER_HOST": engine.host, "TERM": "xterm"}
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(DOCKER, [DOCKER, *arguments], environment)
    os.write(terminal, typed)
    shown = b""
    while select.select([terminal], [], [], 30)[0]:
        try:
            data = os.read(terminal, 4096)
        except OSError:
            break
        if not data:
            break
        shown += data
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


def test_version_shows_client_and_server(docker):
    told = json.loads(docker("version", "--format", "{{json .}}").stdout)
    assert told["Server"]["ApiVersion"] == "1.56"


def test_info_counts_containers(docker):
    docker("run", "-d", "busybox", "sleep", "60")
    assert docker("info", "--format", "{{.ContainersRunning}}").stdout == "1\n"


def test_run_gives_output_and_exit_code(docker):
    result = docker(
        "run", "--rm", "-e", "WORD=hello", "busybox", "sh", "-c", "echo $WORD; echo bad >&2; exit 7", check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (7, "hello\n", "bad\n")
    assert docker("ps", "-aq").stdout == ""


def test_run_passes_standard_input_on(docker):
    assert docker("run", "-i", "--rm", "busybox", "cat", input="one\ntwo\n").stdout == "one\ntwo\n"


def test_run_on_a_terminal(engine, docker):
    code, shown = on_terminal(engine, "run", "-it", "--rm", "busybox", "sh", "-c", "tty; exit 3")
    assert (code, "/dev/pts/0" in shown) == (3, True)


def test_run_of_a_missing_command_ends_with_127(docker):
    result = docker("run", "--rm", "busybox", "no-such-command", check=False)
    assert result.returncode == 127
    assert "executable file not found in $PATH" in result.stderr


def test_published_ports_are_reached(docker):
    docker(
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        "127.0.0.1::80",
        "busybox",
        "sh",
        "-c",
        "echo page > /index.html; httpd -f -h /",
    )
    address = docker("port", "web", "80").stdout.strip()

    def is_served():
        try:
            with urllib.request.urlopen(f"http://{address}/index.html", timeout=5) as answer:
                return answer.read() == b"page\n"
        except OSError:
            return False

    eventually(is_served, 10, "the page")  # the server does not report when it listens


def test_volumes_and_binds(docker, tmp_path):
    (tmp_path / "file").write_text("from the host\n")
    docker("volume", "create", "data")
    docker("run", "--rm", "-v", "data:/data", "-v", f"{tmp_path}:/host:ro", "busybox", "cp", "/host/file", "/data/")
    assert docker("run", "--rm", "-v", "data:/data", "busybox", "cat", "/data/file").stdout == "from the host\n"
    denied = docker("run", "--rm", "-v", f"{tmp_path}:/host:ro", "busybox", "touch", "/host/x", check=False)
    assert "Read-only file system" in denied.stderr
    assert "data" in docker("volume", "ls", "-q").stdout.split()
    docker("volume", "rm", "data")


def test_logs_follow_to_the_end(docker):
    docker("run", "-d", "--name", "talker", "busybox", "sh", "-c", "for i in 1 2 3; do echo line $i; sleep 0.2; done")
    assert docker("logs", "-f", "talker").stdout == "line 1\nline 2\nline 3\n"
    assert docker("logs", "--tail", "1", "talker").stdout == "line 3\n"


def test_exec_with_and_without_a_terminal(engine, docker):
    docker("run", "-d", "--name", "host", "busybox", "sleep", "60")
    assert docker("exec", "-i", "host", "cat", input="in\n").stdout == "in\n"
    assert docker("exec", "host", "sh", "-c", "exit 5", check=False).returncode == 5
    assert docker("exec", "-u", "app", "-w", "/tmp", "host", "sh", "-c", "id -un; pwd").stdout == "app\n/tmp\n"
    code, shown = on_terminal(engine, "exec", "-it", "host", "sh", "-c", "test -t 0 && echo terminal")
    assert (code, "terminal" in shown) == (0, True)


def test_stop_sends_the_signal_and_rm_removes(docker):
    trap = "trap 'echo bye; exit 9' TERM; echo ready; while :; do sleep 0.1; done"
    docker("run", "-d", "--name", "polite", "busybox", "sh", "-c", trap)
    docker("stop", "polite")
    assert docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "polite").stdout == "exited 9\n"
    assert docker("logs", "polite").stdout == "ready\nbye\n"
    docker("rm", "polite")
    assert docker("inspect", "polite", check=False).returncode == 1


def test_images_are_listed_tagged_saved_and_loaded(docker, tmp_path):
    docker("tag", "busybox", "other:v1")
    assert "other:v1" in docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
    docker("save", "-o", str(tmp_path / "saved.tar"), "other:v1")
    docker("rmi", "other:v1")
    docker("load", "-i", str(tmp_path / "saved.tar"))
    assert docker("run", "--rm", "other:v1", "echo", "again").stdout == "again\n"
    docker("rmi", "other:v1")


def test_build_with_the_classic_builder(docker, tmp_path):
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\nARG WORD=nothing\nCOPY file /copied\nRUN echo $WORD > /word\nCMD cat /copied /word\n"
    )
    (tmp_path / "file").write_text("content\n")
    docker("build", "-q", "-t", "built", "--build-arg", "WORD=said", str(tmp_path))
    assert docker("run", "--rm", "built").stdout == "content\nsaid\n"
    assert "Using cache" in docker("build", "-t", "built", "--build-arg", "WORD=said", str(tmp_path)).stdout
    docker("rmi", "built")


def test_a_failing_build_shows_the_step(docker, tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo oh && exit 4\n")
    result = docker("build", "-t", "broken", str(tmp_path), check=False)
    assert result.returncode != 0
    assert "4" in result.stderr


def test_networks_connect_containers_by_name(docker):
    docker("network", "create", "--label", "a=b", "meeting")
    docker("run", "-d", "--name", "alice", "--network", "meeting", "busybox", "sleep", "60")
    assert docker("run", "--rm", "--network", "meeting", "busybox", "ping", "-c1", "-W2", "alice").returncode == 0
    assert "meeting" in docker("network", "ls", "--format", "{{.Name}}").stdout.split()
    busy = docker("network", "rm", "meeting", check=False)
    assert busy.returncode == 1
    assert "alice" in busy.stderr
    docker("rm", "-f", "alice")
    docker("network", "rm", "meeting")


def test_events_report_a_containers_life(docker):
    docker("run", "--rm", "--name", "brief", "busybox", "true")
    told = docker(
        "events",
        "--since",
        "1m",
        "--until",
        str(int(time.time()) + 1),
        "--filter",
        "container=brief",
        "--format",
        "{{.Action}}",
    ).stdout
    assert told.split() == ["create", "attach", "start", "die", "destroy"]


def test_copy_out_and_in(docker, tmp_path):
    docker("run", "-d", "--name", "box", "busybox", "sleep", "60")
    (tmp_path / "in").write_text("carried\n")
    docker("cp", str(tmp_path / "in"), "box:/tmp/in")
    docker("cp", "box:/tmp/in", str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "carried\n"


def test_a_client_too_new_is_refused(engine):
    result = subprocess.run(
        [DOCKER, "ps"],
        env={**os.environ, "DOCKER_HOST": engine.host, "DOCKER_API_VERSION": "1.99"},
        capture_output=True,
        text=True,
    )
    assert "client version 1.99 is too new" in result.stderr


def test_top_and_stats_show_what_runs(docker):
    docker("run", "-d", "--name", "worker", "-m", "64m", "busybox", "sleep", "77")
    assert "sleep 77" in docker("top", "worker").stdout
    assert "64MiB" in docker("stats", "--no-stream", "--format", "{{.MemUsage}}", "worker").stdout


def test_diff_commit_export_and_import(docker, tmp_path):
    docker("run", "--name", "base", "busybox", "sh", "-c", "echo hi > /f; rm /etc/group")
    assert docker("diff", "base").stdout.splitlines() == ["C /etc", "D /etc/group", "A /f"]
    docker("commit", "-m", "why", "-c", 'CMD ["cat", "/f"]', "base", "committed:1")
    assert docker("run", "--rm", "committed:1").stdout == "hi\n"
    assert docker("run", "--rm", "committed:1", "cat", "/etc/group", check=False).returncode == 1
    assert "why" in docker("history", "committed:1").stdout
    docker("export", "-o", str(tmp_path / "root.tar"), "base")
    docker("import", "-c", "CMD cat /f", str(tmp_path / "root.tar"), "imported:1")
    assert docker("run", "--rm", "imported:1").stdout == "hi\n"
    assert "RUN is not a valid change command" in docker("commit", "-c", "RUN true", "base", check=False).stderr
    docker("rmi", "committed:1", "imported:1")


def test_a_prune_with_filters_spares_what_they_do_not_name(docker):
    docker("tag", "busybox", "spared:1")
    docker("image", "prune", "-a", "-f", "--filter", "label=nobody-has-this")
    assert "spared" in docker("images", "--format", "{{.Repository}}").stdout.split()
    docker("rmi", "spared:1")
    assert "invalid filter" in docker("image", "prune", "-f", "--filter", "colour=red", check=False).stderr


def test_a_system_prune_by_label_takes_what_has_it_and_leaves_the_build_cache(docker):
    docker("create", "--name", "kept", "busybox")
    docker("create", "--name", "labelled", "--label", "mine=1", "busybox")
    docker("system", "prune", "-f", "--filter", "label=mine=1")
    assert docker("ps", "-a", "--format", "{{.Names}}").stdout.split() == ["kept"]
    docker("system", "prune", "-f", "--filter", "label!=mine")


def test_a_dockerfile_may_come_apart_from_its_context(docker, tmp_path):
    (tmp_path / "kept").write_text("content\n")
    docker(
        "build", "-q", "-t", "apart", "-f", "-", str(tmp_path), input="FROM busybox\nCOPY kept /kept\nCMD cat /kept\n"
    )
    assert docker("run", "--rm", "apart").stdout == "content\n"
    docker("rmi", "apart")


def test_links_reach_a_container_by_its_alias(docker):
    docker("run", "-d", "--name", "target", "busybox", "sleep", "60")
    docker("run", "--rm", "--link", "target:alias", "busybox", "ping", "-c1", "-W2", "alias")


def test_every_exposed_port_can_be_published(docker):
    docker("run", "-d", "--name", "open", "-P", "--expose", "99", "--expose", "98/udp", "busybox", "sleep", "60")
    assert {line.split()[0] for line in docker("port", "open").stdout.splitlines()} == {"99/tcp", "98/udp"}


def test_what_is_missing_at_start_leaves_the_exit_code_and_no_more(docker):
    for arguments, code in (
        (["--network", "nowhere", "busybox", "true"], 125),
        (["--volumes-from", "nobody", "busybox", "true"], 125),
        (["busybox", "no-such-command"], 127),
        (["busybox", "/etc/passwd"], 126),
    ):
        result = docker("run", "--rm", *arguments, check=False)
        assert (result.returncode, result.stdout) == (code, "")
        assert "Unable to find image" not in result.stderr
        assert "Error waiting" not in result.stderr
    assert docker("ps", "-aq").stdout == ""


def test_ps_finds_containers_by_what_docker_filters_by(docker):
    first = docker("run", "-d", "--name", "first", "-p", "127.0.0.1::80", "busybox", "sleep", "60").stdout.strip()
    second = docker("create", "--name", "second", "--expose", "99", "busybox", "true").stdout.strip()

    def found(*filters):
        flags = [part for one in filters for part in ("--filter", one)]
        return docker("ps", "-aq", "--no-trunc", *flags).stdout.split()

    port = docker("port", "first", "80").stdout.strip().rpartition(":")[2]
    assert found("name=^first$") == found(f"publish={port}") == found("before=second") == [first]
    assert found("status=running") == [first]
    assert found("expose=80") == [first]
    assert found("name=^/second$") == found("since=first") == found("status=created") == [second]
    assert found("expose=99") == [], "what does not run has no ports, as of dockerd"
    assert "invalid filter 'status=bored'" in docker("ps", "-f", "status=bored", check=False).stderr


def test_top_takes_the_options_of_ps(docker):
    docker("run", "-d", "--name", "worker", "busybox", "sleep", "78")
    assert docker("top", "worker", "-o", "pid,args").stdout.splitlines()[1].split(None, 1)[1].strip() == "sleep 78"
    assert docker("top", "worker", "-o", "comm", check=False).returncode == 1


def test_logs_in_dockers_own_options(docker):
    options = (
        "--log-driver",
        "json-file",
        "--log-opt",
        "max-size=20k",
        "--log-opt",
        "max-file=2",
        "--log-opt",
        "labels=tier",
    )
    assert docker(
        "run", "--name", "rotated", *options, "--label", "tier=web", "busybox", "seq", "20000"
    ).stdout.endswith("\n19999\n20000\n")
    kept = docker("logs", "rotated").stdout.split()
    assert kept == [str(number) for number in range(20_001 - len(kept), 20_001)]
    assert docker("logs", "--details", "-n", "1", "rotated").stdout == "tier=web 20000\n"
    stamped = docker("logs", "-t", "-n", "1", "rotated").stdout.split()
    assert docker("logs", "--since", stamped[0], "-n", "1", "rotated").stdout == "20000\n"
    assert docker("logs", "--until", "1h", "rotated").stdout == ""
    assert docker("run", "--name", "silent", "--log-driver", "none", "busybox", "echo", "heard").stdout == "heard\n"
    refused = docker("logs", "silent", check=False)
    assert refused.returncode == 1
    assert "configured logging driver does not support reading" in refused.stderr
    refused = docker("run", "--log-opt", "max-size=lots", "busybox", "true", check=False)
    assert refused.returncode == 125
    assert "invalid size: 'lots'" in refused.stderr


def test_docker_compose_is_skiff_where_the_shim_is(engine, tmp_path):
    engine.skiff("shim", tmp_path)
    project = tmp_path / "project"
    project.mkdir()
    (project / "compose.yaml").write_text("name: shimmed\nservices: {a: {image: busybox}}\n")
    environ = {**os.environ, **engine.environment, "SKIFF_ROOT": str(engine.root), "SKIFF_RUN": str(engine.run)}
    environ.pop("DOCKER_HOST", None)

    def run(*command):
        done = subprocess.run(
            command, cwd=project, env={**environ, "DOCKER_CONFIG": str(tmp_path)}, capture_output=True
        )
        return done.returncode, done.stdout.decode()

    assert run(tmp_path / "docker-compose", "config", "--images") == (0, "busybox\n")
    assert run(DOCKER, "compose", "-f", "compose.yaml", "config", "--services") == (0, "a\n")
    assert run(DOCKER, "--host", engine.host, "compose", "ls", "-q")[0] == 0
    assert run(DOCKER, "--context", "nowhere", "compose", "ls")[0] == 1
