"""`up` in the foreground and `logs`: merged output, ends, interrupts, exit codes."""

import os
import re
import signal

import pytest

from tests.support.foreground import Apart, none_outlives
from tests.support.terminal import Terminal

pytestmark = pytest.mark.root

TALKERS = """
services:
  web: {image: busybox, command: "sh -c 'echo from web; echo to stderr >&2; exit 4'", depends_on: [db]}
  db: {image: busybox, init: true, command: "sh -c 'echo from db; sleep 1000'"}
"""


class Foreground(Apart):
    """A skiff command whose output is read while it runs; standard output and errors apart."""

    def __init__(self, project, *arguments):
        super().__init__(project, *arguments)
        self.seen = ""

    def until(self, text):
        """Read lines of standard output until one has `text`."""
        while text not in self.seen:
            line = self.process.stdout.readline()
            assert line, f"ended before {text!r}:\n{self.seen}\n{self.process.stderr.read()}"
            self.seen += line
        return self

    def end(self):
        """Return exit code, standard output and errors."""
        out, errors = self.process.communicate(timeout=60)
        return self.process.returncode, self.seen + out, errors


HOOKED = """
services:
  web:
    image: busybox
    command: "sh -c 'until [ -e /done ]; do sleep 0.02; done'"
    post_start: [{command: "sh -c 'echo from a hook; echo to stderr >&2; touch /done'"}]
"""


@pytest.fixture
def foreground():
    """Starts commands; none outlives the test."""
    with none_outlives(Foreground) as start:
        yield start


def test_what_a_hook_prints_is_output_of_its_container(stack, foreground):
    project = stack(HOOKED)
    code, out, _ = foreground(project, "up").end()
    first, *hook, last = out.splitlines()
    assert (code, first, last) == (0, "Attaching to web-1", "web-1 exited with code 0")
    assert sorted(hook) == ["web-1 ->  | from a hook", "web-1 ->  | to stderr"]
    project.skiff("down", "-t", "0")
    assert " web-1 post_start | from a hook" in project.skiff("up", "-d").stderr.replace(f"{project.name}-", "")


def test_output_is_merged_under_names_and_ends_are_reported(stack, foreground):
    project = stack(
        "services:\n  one: {image: busybox, command: echo 1}\n  other: {image: busybox, command: 'false'}\n"
    )
    code, out, _ = foreground(project, "up").end()
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "Attaching to one-1, other-1"
    assert sorted(lines[1:]) == ["one-1    | 1", "one-1 exited with code 0", "other-1 exited with code 1"]
    code, out, _ = foreground(project, "up", "--no-log-prefix", "--no-attach", "other").end()
    assert (code, sorted(out.splitlines())) == (0, ["1", "Attaching to one-1", "one-1 exited with code 0"])


def test_a_restarting_container_is_followed_from_run_to_run(stack, foreground):
    project = stack(
        "services:\n  web: {image: busybox, restart: 'on-failure:2', command: \"sh -c 'echo run; exit 3'\"}\n"
    )
    code, out, _ = foreground(project, "up").end()
    assert code == 0
    assert re.sub(r"in \d+ s", "in N s", out).splitlines()[1:] == [
        "web-1  | run",
        "web-1 exited with code 3 (restarting)",
        "web-1  | run",
        "web-1 exited with code 3 (restarting), 2nd time in N s",
        "web-1  | run",
        "web-1 exited with code 3",
    ]


def test_ctrl_c_stops_gracefully_and_exits_130(stack, foreground):
    project = stack(
        """
services:
  web:
    image: busybox
    depends_on: [db]
    command: ["sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done"]
  db: {image: busybox, init: true, command: "sh -c 'echo up; sleep 1000'"}
"""
    )
    up = foreground(project, "up").until("db-1   | up").until("web-1  | up")
    up.process.send_signal(signal.SIGINT)
    code, out, errors = up.end()
    assert code == 130
    assert "Gracefully stopping... (press Ctrl+C again to force)" in errors
    assert "web-1  | bye" in out
    assert errors.index("web-1 Stopped") < errors.index("db-1 Stopping")
    assert set(project.states().values()) == {"exited"}


def test_a_second_ctrl_c_kills(stack, foreground):
    project = stack(
        "services:\n  web: {image: busybox, stop_grace_period: 1h,"
        " command: \"sh -c 'trap : TERM; echo up; while :; do sleep 0.1; done'\"}\n"
    )
    up = foreground(project, "up").until("| up")
    up.process.send_signal(signal.SIGINT)
    while "Stopping" not in up.process.stderr.readline():
        pass
    up.process.send_signal(signal.SIGINT)
    code, _, _ = up.end()
    assert code == 130
    assert project.containers()["web"][0]["ExitCode"] == 137


def test_ctrl_c_while_a_dependency_is_waited_for_stops_what_runs(stack, foreground):
    project = stack(
        """
services:
  web: {image: busybox, command: sleep infinity, depends_on: {db: {condition: service_healthy}}}
  db:
    image: busybox
    init: true
    command: "sh -c 'echo up; sleep 1000'"
    healthcheck: {test: "false", interval: 100ms, retries: 10000}
"""
    )
    up = foreground(project, "up").until("db-1   | up")
    up.process.send_signal(signal.SIGINT)
    assert up.end()[0] == 130
    assert project.states() == {f"{project.name}-db-1": "exited", f"{project.name}-web-1": "created"}


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (["--abort-on-container-exit"], 4),
        (["--abort-on-container-failure"], 4),
        (["--exit-code-from", "web"], 4),
        (["--exit-code-from", "db", "-t", "1"], 143),
    ],
)
def test_the_end_of_one_may_be_the_end_of_all(stack, foreground, flags, code):
    project = stack(TALKERS)
    got, out, errors = foreground(project, "up", *flags).end()
    assert got == code
    assert "web-1 exited with code 4" in out
    assert "Aborting on container exit..." in errors
    assert set(project.states().values()) == {"exited"}


def test_standard_error_stays_standard_error(stack, foreground):
    _, out, errors = foreground(stack(TALKERS), "up", "--abort-on-container-exit").end()
    assert "web-1  | from web" in out
    assert "to stderr" not in out
    assert "web-1  | to stderr" in errors


def test_what_is_attached_can_be_chosen(stack, foreground):
    project = stack(TALKERS)
    code, out, _ = foreground(project, "up", "web").end()
    assert (code, "from db" in out, "from web" in out) == (0, False, True)
    code, out, _ = foreground(project, "up", "web", "--attach-dependencies").end()
    assert (code, out.splitlines()[0]) == (0, "Attaching to db-1, web-1")
    _, out, _ = foreground(project, "up", "--attach", "web", "--exit-code-from", "web", "--timestamps").end()
    assert re.search(r"^web-1  \| \d{4}-\d\d-\d\dT\S+Z from web$", out, re.MULTILINE)
    assert "from db" not in out
    for wrong in (
        ["--attach", "db", "--attach-dependencies"],
        ["-d", "--attach", "db"],
        ["-d", "--abort-on-container-exit"],
    ):
        assert "cannot be combined with" in project.refused("up", *wrong)
    assert "no such service: nosuch" in project.refused("up", "--exit-code-from", "nosuch")


def test_an_unhealthy_dependency_ends_it_with_all_that_is_known(stack, foreground):
    project = stack(
        """
services:
  web: {image: busybox, command: sleep infinity, depends_on: {db: {condition: service_healthy}}}
  db:
    image: busybox
    init: true
    command: "sh -c 'echo a line of its log; sleep 1000'"
    healthcheck: {test: "echo what the probe said; exit 2", interval: 50ms, retries: 3}
"""
    )
    code, _, errors = foreground(project, "up").end()
    assert code == 1
    assert f"dependency db of web failed to start: container {project.name}-db-1 is unhealthy" in errors
    for part in ("exit code 2", "3 failed in a row", "what the probe said", "a line of its log"):
        assert part in errors


def test_on_a_terminal_names_have_colours_and_ctrl_c_on_the_keyboard_stops(stack):
    project = stack("services:\n  web: {image: busybox, init: true, command: \"sh -c 'echo up; sleep 1000'\"}\n")
    up = Terminal.of(project, "up", columns=100)
    try:
        up.until(lambda text: "web-1  | up" in text)
        assert b"\x1b[36mweb-1  | \x1b[0mup" in up.written
        up.process.send_signal(signal.SIGINT)
        assert up.end() == 130
    finally:
        up.kill()
    assert "Gracefully stopping..." in up.text
    assert project.states() == {f"{project.name}-web-1": "exited"}


def test_logs_are_merged_by_time_and_cut_as_wanted(stack):
    project = stack(
        """
services:
  a: {image: busybox, volumes: ["said:/said"], command: ["sh", "-c", "say 1; after 2; say 3; after 4; say 5"]}
  b: {image: busybox, volumes: ["said:/said"], command: ["sh", "-c", "after 1; say 2; after 3; say 4"]}
volumes: {said: {}}
""".replace(
            '"-c", "',
            '"-c", "say() { echo $$1; touch /said/$$1; }; after() { until test -e /said/$$1; do sleep 0.1; done; }; ',
        )
    )
    project.skiff("up")
    lines = project.skiff("logs").stdout.splitlines()
    assert lines == ["a-1  | 1", "b-1  | 2", "a-1  | 3", "b-1  | 4", "a-1  | 5"]
    assert project.skiff("logs", "--no-log-prefix", "-n", "1").stdout == "4\n5\n"
    stamped = project.skiff("logs", "-t", "--no-log-prefix", "a").stdout.splitlines()
    times = [line.split()[0] for line in stamped]
    assert project.skiff("logs", "--since", times[1], "--no-log-prefix", "a").stdout == "3\n5\n"
    assert project.skiff("logs", "--until", times[0], "--no-log-prefix", "a").stdout == "1\n"
    assert project.skiff("logs", "--since", "1h", "--index", "1", "b").stdout.count("\n") == 2
    assert project.skiff("logs", "-f").stdout.splitlines() == lines
    assert "no container with index 2" in project.refused("logs", "--index", "2", "a")
    for wrong in ("yesterday", "²", "9" * 20, "1.2.3", "5d", "."):
        assert "is neither a time nor a duration" in project.refused("logs", "-f", "--until", wrong)
    assert project.skiff("logs", "-f", "--until", "9999-12-31T23:59:59Z").stdout.splitlines() == lines
    assert "no such service: c" in project.refused("logs", "c")


def test_following_logs_goes_on_over_a_restart_and_ends_with_the_last(stack, foreground):
    project = stack(
        """
services:
  web: {image: busybox, init: true, command: "sh -c 'echo run; sleep 1000'"}
  other: {image: busybox, init: true, command: sleep infinity}
"""
    )
    project.skiff("up", "-d")
    follow = foreground(project, "logs", "-f", "--no-log-prefix").until("run")
    project.skiff("restart", "-t", "0", "web")
    follow.until("run\nweb-1 exited with code").until("\nrun\n")
    project.skiff("kill")
    code, out, _ = follow.end()
    assert code == 0
    assert re.match(r"run\nweb-1 exited with code 1(37|43)( \(restarting\))?\nrun\n", out)
    assert sorted(out.splitlines()[3:]) == ["other-1 exited with code 137", "web-1 exited with code 137"]


def test_keys_of_the_menu_watch_files_and_leave_the_stack_running(stack):
    command = "init: true, image: busybox, command: 'sh -c \"seq 100; exec sleep infinity\"'"
    project = stack(
        f"services:\n  web: {{{command}, develop: {{watch: [{{path: src, action: sync, target: /app}}]}}}}\n"
    )
    (project.folder / "src").mkdir()
    shown = Terminal.of(project, "up", environment={"COMPOSE_MENU": "1"})
    try:
        last = len(shown.screen.display) - 1
        shown.until(lambda text: "| 100" in text and shown.screen.display[last].rstrip() == "w Enable Watch   d Detach")
        for _ in range(2):
            shown.type("w")
            shown.until(lambda text: shown.screen.display[last].startswith("w Disable Watch"))
            shown.until(lambda text: text.count("Watch enabled") == 1 + text.count("Watch disabled"))
            shown.type("w")
            shown.until(lambda text: shown.screen.display[last].startswith("w Enable Watch"))
            shown.until(lambda text: text.count("Watch enabled") == text.count("Watch disabled"))
        shown.resize(80, 30)
        os.killpg(shown.process.pid, signal.SIGWINCH)
        shown.until(lambda text: shown.screen.display[29].startswith("w Enable Watch"))
        shown.type("d")
        assert shown.end() == 0
        assert not shown.screen.display[29].strip()
        assert shown.screen.margins is None
    finally:
        shown.kill()
    assert list(project.states().values()) == ["running"]
