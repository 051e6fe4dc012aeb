"""Each other command once through the real engine, as a user of docker compose types it."""

import io
import json
import os
import re
import signal
import subprocess
import tarfile

import pytest

from tests.conftest import SKIFF
from tests.support.project import eventually
from tests.support.terminal import Terminal

pytestmark = pytest.mark.root

SLEEP = "image: busybox, init: true, command: sleep infinity"
PAIR = f"""
services:
  web: {{{SLEEP}, ports: ["127.0.0.1::80"], depends_on: [db]}}
  db: {{{SLEEP}, volumes: ["data:/data"]}}
volumes:
  data:
"""


@pytest.fixture
def pair(stack):
    """A stack of two, up."""
    project = stack(PAIR)
    project.skiff("up", "-d")
    return project


def test_ps_shows_what_is_asked_in_the_wanted_form(pair):
    pair.skiff("pause", "db")
    documents = [json.loads(line) for line in pair.skiff("ps", "--format", "json").stdout.splitlines()]
    assert [(d["Service"], d["State"], d["Project"], d["ExitCode"], d["Health"], d["Engine"]) for d in documents] == [
        ("db", "paused", pair.name, 0, "", ""),
        ("web", "running", pair.name, 0, "", ""),
    ]
    assert documents[1]["Publishers"][0] | {"PublishedPort": 0} == {
        "URL": "127.0.0.1",
        "TargetPort": 80,
        "PublishedPort": 0,
        "Protocol": "tcp",
    }
    assert pair.skiff("ps", "-q", "web").stdout[:12] == documents[1]["ID"]
    assert pair.skiff("ps", "--status", "paused", "--format", "{{.Name}}").stdout == f"{pair.name}-db-1\n"
    assert pair.skiff("ps", "--filter", "status=exited", "-q").stdout == ""
    table = pair.skiff("ps", "--format", r"table {{.Service}}\t{{.State}}").stdout.splitlines()
    assert [line.split() for line in table] == [["SERVICE", "STATE"], ["db", "paused"], ["web", "running"]]
    assert "should be in form KEY=VAL" in pair.refused("ps", "--filter", "status")
    assert "no field 'Nmae'" in pair.refused("ps", "--format", "{{.Nmae}}")
    assert "it can't be started" in pair.refused("up", "-d")
    pair.skiff("unpause", "db")
    pair.skiff("kill", "-s", "KILL", "web")
    assert pair.skiff("ps", "--services").stdout == "db\n"
    assert "Exited (137)" in pair.skiff("ps", "-a").stdout


def test_ls_lists_projects(pair):
    found = json.loads(pair.skiff("ls", "--format", "json", "--filter", f"name=^{pair.name}$").stdout)
    assert found == [{"Name": pair.name, "Status": "running(2)", "ConfigFiles": str(pair.folder / "compose.yaml")}]
    pair.skiff("stop", "-t", "0")
    assert pair.name not in pair.skiff("ls", "-q").stdout.split()
    assert pair.name in pair.skiff("ls", "-q", "-a").stdout.split()


def test_images_and_volumes_and_ports_and_processes_are_shown(pair):
    shown = json.loads(pair.skiff("images", "--format", "json", "web").stdout)
    # other tests of this home may have given the image more names
    names = pair.home.get("/images/busybox/json")["RepoTags"]
    assert [(f"{one['Repository']}:{one['Tag']}" in names, one["Platform"]) for one in shown] == [(True, "linux/amd64")]
    assert pair.skiff("images", "-q").stdout.strip() == shown[0]["ID"].removeprefix("sha256:")
    assert pair.skiff("volumes", "-q", "db").stdout == f"{pair.name}_data\n"
    assert pair.skiff("volumes", "-q", "web").stdout == ""
    assert re.fullmatch(r"127\.0\.0\.1:\d+\n", pair.skiff("port", "web", "80").stdout)
    assert "no port 81/tcp for container" in pair.refused("port", "web", "81")
    rows = [line.split() for line in pair.skiff("top").stdout.splitlines()]
    assert rows[0][:3] == ["SERVICE", "#", "UID"]
    assert {row[0] for row in rows[1:]} == {"db", "web"}
    usage = [json.loads(line) for line in pair.skiff("stats", "--no-stream", "--format", "json").stdout.splitlines()]
    assert [(one["Name"], int(one["PIDs"]) >= 1) for one in usage] == [
        (f"{pair.name}-db-1", True),
        (f"{pair.name}-web-1", True),
    ]


def test_version_is_reported_short_and_as_json(stack_home):
    assert re.fullmatch(r"Skiff version \S+\n", stack_home.skiff("version").stdout)
    number = stack_home.skiff("version", "--short").stdout.strip()
    assert json.loads(stack_home.skiff("version", "-f", "json").stdout) == {"version": number}
    assert stack_home.skiff("--version").stdout == f"Skiff version {number}\n"


def test_exec_gives_streams_variables_and_the_exit_code_through(pair):
    said = pair.skiff(
        "exec", "-T", "-e", "A=1", "-w", "/tmp", "-u", "app", "web", "sh", "-c", "cat; echo $A; pwd; id -u; exit 3",
        input="in\n", check=False,
    )  # fmt: skip
    assert (said.returncode, said.stdout) == (3, "in\n1\n/tmp\n1000\n")
    missing = pair.skiff("exec", "web", "nosuchprogram", check=False)
    assert missing.returncode == 127
    assert "not found in $PATH" in missing.stdout + missing.stderr
    pair.skiff("exec", "-d", "web", "sh", "-c", "echo here > /tmp/mark")
    assert pair.skiff("exec", "-T", "web", "sh", "-c", "until cat /tmp/mark; do :; done").stdout.endswith("here\n")
    assert pair.skiff("exec", "-T", "-i=false", "web", "cat", input="unread").stdout == ""
    privileged = pair.skiff("exec", "-T", "--privileged", "web", "grep", "CapEff", "/proc/self/status").stdout
    plain = pair.skiff("exec", "-T", "web", "grep", "CapEff", "/proc/self/status").stdout
    assert privileged != plain
    assert "no container with index 2" in pair.refused("exec", "--index", "2", "web", "true")
    pair.skiff("stop", "-t", "0", "web")
    assert 'service "web" is not running' in pair.refused("exec", "web", "true")


def test_exec_on_a_terminal_is_a_terminal_of_its_size(pair):
    inside = Terminal.of(pair, "exec", "-it", "web", "sh", columns=91, rows=17)
    try:
        inside.until(lambda text: "#" in text)
        inside.resize(93, 19)
        inside.process.send_signal(28)  # SIGWINCH, as a window manager's change of size sends it
        inside.type("until [ \"$(stty size)\" = '19 93' ]; do :; done; stty size; exit 5\n")
        assert inside.end() == 5
    finally:
        inside.kill()
    assert "19 93" in inside.lines


def test_run_makes_one_container_of_its_own(pair):
    said = pair.skiff(
        "run", "--rm", "-T", "-e", "A=1", "-l", "own=label", "-u", "app", "-w", "/tmp", "-v", "data:/mine",
        "web", "sh", "-c", "cat; echo $A; id -u; pwd; ls -d /mine; exit 5",
        input="in\n", check=False,
    )  # fmt: skip
    assert (said.returncode, said.stdout) == (5, "in\n1\n1000\n/tmp\n/mine\n")
    assert sorted(pair.states()) == [f"{pair.name}-db-1", f"{pair.name}-web-1"]
    (pair.folder / "more.env").write_text("B=file\n")
    flags = ("--env-from-file", "more.env", "--entrypoint", "sh -c", "--no-deps", "--quiet-pull")
    assert pair.skiff("run", "--rm", *flags, "web", "echo $B").stdout == "file\n"
    id = pair.skiff("run", "-d", "--name", f"{pair.name}-own", "-P", "-l", "a=b", "db", "sleep", "1000").stdout.strip()
    labels = pair.home.get(f"/containers/{id}/json")["Config"]["Labels"]
    assert (labels["a"], labels["com.docker.compose.oneoff"]) == ("b", "True")
    assert len(labels["com.docker.compose.slug"]) == 64
    assert f"{pair.name}-own" not in pair.skiff("ps").stdout
    assert f"{pair.name}-own" in pair.skiff("ps", "-a").stdout
    assert "Network" in pair.skiff("down", "-t", "0").stderr  # still in use: one-offs stay
    assert list(pair.states()) == [f"{pair.name}-own"]
    pair.skiff("down", "-t", "0", "--remove-orphans")
    assert pair.states() == {}
    assert "--service-ports and --publish are incompatible" in pair.refused("run", "-P", "-p", "80", "web")
    assert "no such service: nosuch" in pair.refused("run", "nosuch")


def test_run_passes_signals_on_and_removes_what_it_made(pair):
    trap = "trap 'echo got it; exit 9' INT; echo up; while :; do sleep 0.1; done"
    command = ["run", "--rm", "-T", "web", "sh", "-c", trap]
    run = subprocess.Popen([*SKIFF, *command], cwd=pair.folder, env=pair.home.env, stdout=subprocess.PIPE, text=True)
    assert run.stdout.readline() == "up\n"
    run.send_signal(2)
    out, _ = run.communicate(timeout=30)
    assert (run.returncode, out) == (9, "got it\n")
    assert len(pair.states()) == 2


def test_run_brings_dependencies_up_first(stack):
    project = stack(
        f"""
services:
  web: {{image: busybox, command: "true", depends_on: {{db: {{condition: service_healthy}}}}}}
  db: {{{SLEEP}, healthcheck: {{test: "test -e /ready || {{ touch /ready; false; }}", interval: 50ms}}}}
"""
    )
    assert project.skiff("run", "--rm", "web", "echo", "done").stdout == "done\n"
    assert project.containers()["db"][0]["Health"] == "healthy"


def test_cp_copies_files_and_folders_both_ways(pair, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_text("content\n")
    pair.skiff("cp", folder / "file", "web:/tmp/renamed")
    pair.skiff("cp", folder, "web:/tmp/")
    pair.skiff("cp", f"{folder}/.", "web:/tmp/whole")
    listed = pair.skiff("exec", "-T", "web", "cat", "/tmp/renamed", "/tmp/folder/file", "/tmp/whole/file").stdout
    assert listed == "content\n" * 3
    pair.skiff("cp", "web:/tmp/folder", tmp_path / "back")
    pair.skiff("cp", "web:/tmp/renamed", tmp_path)
    assert (tmp_path / "back/file").read_text() == (tmp_path / "renamed").read_text() == "content\n"
    streamed = subprocess.run(
        [*SKIFF, "cp", "web:/tmp/renamed", "-"], cwd=pair.folder, env=pair.home.env, capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(streamed.stdout)) as tar:
        assert tar.getnames() == ["renamed"]
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to("behind")
    with open(os.open(pipe, os.O_RDWR), "rb") as held:
        pair.skiff("cp", "web:/tmp/renamed", pipe)
        assert held.read(len("content\n")) == b"content\n"
    assert pipe.is_fifo()
    assert "only a file" in pair.refused("cp", "web:/tmp", pipe)
    pair.skiff("cp", "web:/tmp/renamed", link)
    assert link.is_symlink()
    assert (tmp_path / "behind").read_text() == "content\n"
    os.chown(folder / "file", 1234, 1235)
    pair.skiff("cp", folder / "file", "web:/tmp/renamed")
    assert pair.skiff("exec", "-T", "web", "stat", "-c", "%u:%g", "/tmp/renamed").stdout == "1234:1235\n"
    assert "cannot copy directory" in pair.refused("cp", folder, "web:/etc/passwd")
    assert pair.skiff("exec", "-T", "web", "cat", "/etc/passwd").stdout.startswith("root:")
    assert "no such file" in pair.refused("cp", "nosuch", "web:/tmp")
    assert "/nosuch" in pair.refused("cp", "web:/nosuch", tmp_path)
    assert "unknown copy direction" in pair.refused("cp", "a", "b")


def test_what_is_copied_to_a_link_goes_where_it_leads(pair):
    (pair.folder / "folder").mkdir()
    (pair.folder / "folder/file").write_text("content\n")
    make = "cd /tmp; rm -rf *; mkdir real; echo old > real/old; ln -s real folder; ln -s /tmp/real/old file; ln -s none broken"
    for source, target, written in (
        ("folder/.", "folder", "real/file"),
        ("folder/.", "folder/", "real/file"),
        ("folder", "folder", "real/folder/file"),
        ("folder/file", "folder", "real/file"),
        ("folder/file", "file", "real/old"),
        ("folder/file", "broken", "none"),
        ("folder", "broken", "none/file"),
    ):
        pair.skiff("exec", "web", "sh", "-c", make)
        pair.skiff("cp", source, f"web:/tmp/{target}")
        show = (
            f"cd /tmp; cat {written}; for link in folder file broken; do test -L $link || echo $link is no link; done"
        )
        assert pair.skiff("exec", "web", "sh", "-c", show).stdout == "content\n", (source, target)


def test_commit_and_export_take_a_container_out(pair, tmp_path):
    pair.skiff("exec", "-T", "web", "touch", "/made-inside")
    image = f"{pair.name}-committed:own"
    pair.skiff("commit", "-m", "why", "-c", "ENV A=1", "web", image)
    assert "A=1" in pair.home.get(f"/images/{image}/json")["Config"]["Env"]
    pair.skiff("export", "web", "-o", tmp_path / "root.tar")
    with tarfile.open(tmp_path / "root.tar") as tar:
        assert "made-inside" in [name.removeprefix("./") for name in tar.getnames()]
    pair.home.skiff("image", "rm", image)


def test_attach_shows_a_container_until_it_ends(stack):
    project = stack(
        "services:\n  web: {image: busybox, stdin_open: true, command: \"sh -c 'read line; echo got $$line; exit 6'\"}\n"
    )
    project.skiff("up", "-d")
    attached = project.skiff("attach", "web", input="something\n", check=False)
    assert (attached.returncode, attached.stdout) == (6, "got something\n")


def test_restart_takes_along_those_who_want_it(stack):
    text = PAIR.replace("depends_on: [db]", "depends_on: {db: {condition: service_started, restart: true}}")
    project = stack(text)
    project.skiff("up", "-d")
    assert "web" not in project.skiff("restart", "-t", "0", "--no-deps", "db").stderr
    said = project.skiff("restart", "-t", "0", "db").stderr
    assert said.index("db-1 Started") < said.index("web-1 Restarting")
    assert "db" not in project.skiff("restart", "-t", "0", "web").stderr


def test_stop_and_rm_go_in_order_and_ask(pair):
    said = pair.skiff("stop", "-t", "1").stderr
    assert said.index("web-1 Stopped") < said.index("db-1 Stopping")
    assert "nobody confirmed it" in pair.refused("rm", input="")
    pair.skiff("rm", "web", input="n\n")
    asked = Terminal.of(pair, "rm", "web")
    asked.type("what\n")
    asked.until(lambda text: text.count(f"Going to remove {pair.name}-web-1 [y/N]:") == 2)
    asked.process.send_signal(signal.SIGINT)
    assert asked.end() == 130
    assert len(pair.states()) == 2
    pair.skiff("rm", "web", input="y\n")
    assert list(pair.states()) == [f"{pair.name}-db-1"]
    assert "No stopped containers" in pair.skiff("rm", "-f", "web").stderr
    assert 'service "web" has no container to start' in pair.refused("start", "web")
    pair.skiff("up", "-d")
    pair.skiff("rm", "-fsv")
    assert pair.states() == {}


def test_kill_sends_the_wanted_signal(stack):
    trap = "trap 'exit 3' HUP; touch /ready; while :; do sleep 0.1; done"
    ready = "{test: test -e /ready, interval: 50ms}"
    project = stack(f'services:\n  web: {{image: busybox, command: ["sh", "-c", "{trap}"], healthcheck: {ready}}}\n')
    project.skiff("up", "-d", "--wait")
    wait = subprocess.Popen([*SKIFF, "wait", "web"], cwd=project.folder, env=project.home.env, stdout=subprocess.PIPE)
    # a thread for each container that it found alive
    eventually(lambda: len(os.listdir(f"/proc/{wait.pid}/task")) > 1)
    project.skiff("kill", "-s", "HUP")
    assert b"exited with status code 3" in wait.communicate(timeout=30)[0]
    assert wait.returncode == 3
    assert "no container to kill" in project.skiff("kill").stderr
    assert "no containers to wait for" in project.refused("wait", "web")


def test_wait_can_take_the_project_down(stack):
    project = stack(f"services:\n  job: {{image: busybox, command: sleep 1}}\n  web: {{{SLEEP}}}\n")
    project.skiff("up", "-d")
    assert "exited with status code 0" in project.skiff("wait", "--down-project", "job").stdout
    assert project.states() == {}


def test_events_are_reported_with_service_and_attributes(pair):
    begun = str(pair.home.get("/skiff/v1/engine")["time"])
    pair.skiff("restart", "-t", "0", "web")
    until = str(pair.home.get("/skiff/v1/engine")["time"])
    lines = pair.skiff("events", "--json", "--since", begun, "--until", until).stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert [(event["service"], event["type"]) for event in events] == [("web", "container")] * len(events)
    actions = [event["action"] for event in events]
    assert [action for action in actions if action in ("die", "start", "restart")] == ["die", "start", "restart"]
    assert not any(key.startswith("com.docker.compose.") for event in events for key in event["attributes"])
    plain = pair.skiff("events", "--since", begun, "--until", until, "web").stdout.splitlines()
    assert len(plain) == len(lines)
    assert re.fullmatch(r"\S+ \S+\.\d{6} container \S+ [0-9a-f]{64} \(.*\)", plain[0])


def test_build_builds_what_is_asked(stack):
    project = stack(
        """
services:
  web: {build: {context: ., additional_contexts: {base: "service:base"}}, depends_on: [other]}
  base: {build: {context: ., dockerfile: Base}}
  other: {build: {context: ., dockerfile: Base, args: {A: file}}}
""",
        Dockerfile="FROM base\nRUN true\n",
        Base="FROM busybox\nARG A=none\nRUN echo built with $A\n",
    )
    said = project.skiff("build", "web").stderr
    assert said.index("stack") < said.index("Built")
    assert [line.split()[1] for line in said.splitlines() if line.endswith("Built")] == [
        f"{project.name}-base",
        f"{project.name}-web",
    ]
    assert f"{project.name}-other" in project.skiff("build", "--with-dependencies", "web").stderr
    said = project.skiff("build", "--no-cache", "--build-arg", "A=flag", "other").stdout
    assert "built with flag" in said
    quiet = project.skiff("build", "-q", "base")
    assert (quiet.stderr, quiet.stdout.startswith("sha256:")) == ("", True)


def test_pull_and_push_pass_over_what_is_not_theirs(stack):
    project = stack(
        "services:\n  own: {build: .}\n  kept: {image: busybox, pull_policy: never}\n", Dockerfile="FROM busybox\n"
    )
    said = project.skiff("pull").stderr
    assert "Image own Skipped - No image to be pulled" in said
    assert "Image busybox Skipped - No image to be pulled" in said
    assert project.skiff("push").stderr.count("Skipped") == 2
    project.write("services:\n  web: {image: 'localhost:1/none:1', build: .}\n  own: {image: busybox}\n")
    assert "skiff build web" in project.skiff("pull", "web").stderr
    assert "already present" in project.skiff("pull", "--policy", "missing", "own").stderr
    project.write("services:\n  web: {image: 'localhost:1/none:1'}\n")
    assert "localhost:1" in project.refused("pull")
    assert "WARN" in project.skiff("pull", "--ignore-pull-failures").stderr


def test_the_graph_of_a_project_is_printed(stack):
    project = stack("services:\n  web: {image: busybox}\n")
    assert '"web" [style="filled"' in project.skiff("alpha", "viz").stdout


def test_what_docker_compose_gave_up_is_still_taken(stack):
    project = stack("services:\n  web: {image: busybox, build: {context: ., dockerfile_inline: FROM busybox}}\n")
    assert project.skiff("convert", "--services").stdout == "web\n"
    elsewhere = project.home.skiff(
        "--no-ansi", "--workdir", project.folder, "-f", project.folder / "compose.yaml", "config"
    )
    assert f"context: {project.folder}" in elsewhere.stdout
    assert "DEPRECATED" in project.refused("--no-ansi", "--ansi", "never", "config")
    project.skiff("build", "--parallel", "--compress", "--force-rm", "--no-rm", "--progress", "plain")


def test_lists_are_shaped_by_templates_of_go(pair):
    template = '{{range .Publishers}}{{.PublishedPort}}{{else}}none{{end}} {{.Label "com.docker.compose.service"}}'
    assert pair.skiff("ps", "--format", template).stdout
    assert {line.rpartition(" ")[2] for line in pair.skiff("ps", "--format", template).stdout.splitlines()} == set(
        pair.skiff("ps", "--services").stdout.split()
    )
    for command in ("ls", "images"):
        assert 'format value "pretty" could not be parsed' in pair.refused(command, "--format", "pretty")
