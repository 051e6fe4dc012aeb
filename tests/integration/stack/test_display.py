"""The live display, seen on a real terminal."""

import json
import signal

import pytest

from tests.support.project import Project
from tests.support.terminal import Terminal

pytestmark = pytest.mark.root


@pytest.fixture
def terminal(home):
    """Runs skiff commands on terminals; none outlives the test."""
    made = []

    def run(project, *arguments, **options):
        made.append(Terminal.of(project, *arguments, **options))
        return made[-1]

    yield run
    for one in made:
        one.kill()


STACK = """
name: shown
services:
  web:
    image: busybox
    init: true
    command: sleep infinity
    depends_on: {db: {condition: service_healthy}}
  db:
    image: busybox
    init: true
    command: sleep infinity
    healthcheck: {test: "test -e /ready", interval: 50ms, retries: 1000}
"""


def test_up_and_down_end_with_every_resource_checked(home, busybox, tmp_path, terminal):
    project = Project.of(home, tmp_path, STACK.replace("test -e /ready", "true"))
    up = terminal(project, "up", "-d", columns=60)
    assert up.end() == 0, up.text
    assert up.lines[0] == "[+] Running 3/3"
    shown = [line.split() for line in up.lines[1:]]
    # containers are made side by side: which comes first is open
    assert sorted((row[:4] for row in shown), key=lambda row: (row[1] != "Network", row)) == [
        ["✔", "Network", "shown_default", "Created"],
        ["✔", "Container", "shown-db-1", "Healthy"],
        ["✔", "Container", "shown-web-1", "Started"],
    ]
    assert all(row[4].endswith("s") for row in shown)
    assert up.has_cursor
    down = terminal(project, "down", columns=60)
    assert down.end() == 0
    assert down.lines[0] == "[+] Running 3/3"
    assert all(" Removed " in line and line.startswith(" ✔ ") for line in down.lines[1:])


def test_a_window_made_narrower_shows_one_frame(home, busybox, tmp_path, terminal):
    project = Project.of(home, tmp_path, STACK)
    up = terminal(project, "up", "-d", columns=100)
    up.until(lambda text: "Waiting" in text)
    up.resize(50, 24)
    before = len(up.written)
    up.until(lambda _: b"[+]" in up.written[before:])
    project.skiff("exec", "-T", "db", "touch", "/ready")
    assert up.end() == 0, up.text
    assert up.text.count("[+] Running") == 1
    # containers are made side by side: which comes first is open
    assert sorted(line.split()[2] for line in up.lines[1:]) == ["shown-db-1", "shown-web-1", "shown_default"]
    assert max(map(len, up.lines)) <= 50


def test_ctrl_c_gives_the_cursor_back_and_exits_130(home, busybox, tmp_path, terminal):
    project = Project.of(home, tmp_path, STACK)
    up = terminal(project, "up", "-d")
    up.until(lambda text: "Waiting" in text)
    assert not up.has_cursor
    up.process.send_signal(signal.SIGINT)
    assert up.end() == 130
    assert up.has_cursor
    assert "internal error" not in up.text


def test_a_failure_marks_the_row_and_says_why_below(home, busybox, tmp_path, terminal):
    project = Project.of(home, tmp_path, STACK.replace("retries: 1000", "retries: 1"))
    up = terminal(project, "up", "-d", columns=100)
    assert up.end() == 1
    assert up.has_cursor
    assert any(line.startswith(" ✘ Container shown-db-1") and "Unhealthy" in line for line in up.lines)
    assert "container shown-db-1 is unhealthy" in up.text


def test_a_build_shows_its_last_lines_and_folds_them_away(home, busybox, tmp_path, terminal):
    text = "name: shown\nservices:\n  web:\n    build: .\n"
    project = Project.of(home, tmp_path, text, Dockerfile="FROM busybox\nRUN echo first-of-all; sleep 0.5\n")
    build = terminal(project, "build", columns=90)
    build.until(lambda text: "first-of-all" in text)
    assert "[+] Building 0/1" in build.text
    assert build.end() == 0
    assert "first-of-all" not in build.text
    assert build.lines[1].startswith(" ✔ Image shown-web Built")


def test_elsewhere_steps_are_plain_lines(home, busybox, tmp_path, terminal):
    project = Project.of(home, tmp_path, STACK.replace("test -e /ready", "true"))
    plain = terminal(project, "--ansi", "never", "up", "-d")
    assert plain.end() == 0
    assert b"\x1b" not in plain.written
    assert " Container shown-web-1 Started" in plain.lines
    quiet = project.skiff("--progress", "quiet", "down")
    assert quiet.stderr == ""
    wrong = project.skiff("--progress", "loud", "up", "-d", check=False)
    assert wrong.returncode == 1
    assert 'unsupported --progress value "loud"' in wrong.stderr


def test_as_json_everything_on_standard_error_is_an_object_also_warnings_and_the_last_error(stack):
    project = stack("services: {a: {image: nosuch/image, environment: {B: $UNSET}}}\nversion: '3'\n")
    for arguments, environment in (
        (["--progress", "json", "up", "-d"], {}),
        (["up", "-d"], {"COMPOSE_PROGRESS": "json"}),
        (["--progress", "json", "logs", "nosuch"], {}),
    ):
        done = project.skiff(*arguments, env=environment, check=False)
        assert done.returncode == 1
        told = [json.loads(line) for line in done.stderr.splitlines()]
        assert [one["error"] for one in told if "error" in one] == [True]
        assert told[-1]["message"].startswith("no such service: nosuch" if "logs" in arguments else "")
        warned = [one["msg"] for one in told if one.get("level") == "warning"]
        assert "logs" in arguments or any("UNSET" in message for message in warned)


def test_the_first_line_names_an_engine_that_a_variable_chose(home, busybox, tmp_path, terminal):
    project = Project.of(home, tmp_path, "name: chosen\nservices: {web: {image: busybox, command: 'true'}}\n")
    # by another name than that of this user's own engine
    (tmp_path / "other.sock").symlink_to(home.run / "engine.sock")
    other = f"unix://{tmp_path}/other.sock"
    chosen = {"DOCKER_HOST": other}
    for arguments, says in ((("up", "-d"), True), (("-H", other, "up", "-d"), False), (("down",), True)):
        command = terminal(project, *arguments, environment=chosen, columns=200)
        assert command.end() == 0, command.text
        assert (command.lines[0].strip() == f"Engine {other} ($DOCKER_HOST)") is says
    piped = project.skiff("up", "-d", env={**home.env, **chosen})
    assert "Engine" not in piped.stderr
    project.skiff("down")
