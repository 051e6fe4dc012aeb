"""`logs`: what exists in the order of time, what comes as it comes, each line once."""

import re
import subprocess
import sys
import time

import pytest

from tests.conftest import SKIFF
from tests.support.foreground import Apart, none_outlives
from tests.support.project import Project, eventually, kill_and_wait, pid_of

pytestmark = pytest.mark.root

WAITERS = """
services:
  a: {image: busybox, init: true, command: "sh -c 'echo 1; sleep 0.2; echo 3; sleep 0.2; echo 5; sleep 1000'"}
  b: {image: busybox, init: true, command: "sh -c 'sleep 0.1; echo 2; sleep 0.2; printf 4; sleep 1000'"}
  quiet:
    image: busybox
    init: true
    command: ["sh", "-c", "while ! test -e /go; do sleep 0.05; done; echo said late; sleep 1000"]
"""


BEGIN = "echo begin; while ! test -e /go; do sleep 0.05; done"
"""What a container does until its output is followed."""


def begin(project, follow):
    """Let the service `flood` write once it is followed."""
    assert follow.lines(1) == ["begin"]
    project.skiff("exec", "-T", "flood", "touch", "/go")


class Following(Apart):
    """A command that goes on; its output is read line by line."""

    def lines(self, count):
        return [self.process.stdout.readline().rstrip("\n") for _ in range(count)]

    def end(self):
        out, errors = self.process.communicate(timeout=60)
        return self.process.returncode, out.splitlines(), errors


@pytest.fixture
def following():
    """Starts commands that go on; none outlives the test."""
    with none_outlives(Following) as start:
        yield start


def without_codes(lines):
    """Return the lines in order, without the exit codes: a signal may be faster than another."""
    return sorted(line.partition(" with code")[0] for line in lines)


def says(project, count):
    """Wait until the project's logs have so many lines."""
    eventually(lambda: project.skiff("logs", "--no-log-prefix").stdout.count("\n") >= count, 30, f"{count} lines")


def test_what_exists_is_merged_by_time_before_what_comes_is_followed(stack, following):
    project = stack(WAITERS)
    project.skiff("up", "-d")
    says(project, 5)
    exists = [line for line in project.skiff("logs", "-t").stdout.splitlines() if not line.endswith(" 4")]
    assert [line.split()[3] for line in exists if line.startswith("a-1")] == ["1", "3", "5"]
    assert exists == sorted(exists, key=lambda line: line.split()[2])
    one, stamped, last = (
        following(project, "logs", "-f", "-t"),
        following(project, "logs", "-f", "-t", "--no-log-prefix", "a"),
        following(project, "logs", "-f", "--tail", "1", "a", "b"),
    )
    assert one.lines(4) == exists
    found = stamped.lines(3)
    assert [line.split()[1] for line in found] == ["1", "3", "5"]
    assert found == sorted(found)
    assert last.lines(1) == ["a-1  | 5"]
    since = following(project, "logs", "-f", "--no-log-prefix", "--since", found[1].split()[0], "a")
    assert since.lines(2) == ["3", "5"]
    project.skiff("exec", "-T", "quiet", "touch", "/go")
    assert re.fullmatch(r"quiet-1  \| \S+ said late", one.lines(1)[0])
    project.skiff("kill", "b")  # its line had no end: now it never gets one
    assert re.fullmatch(r"b-1      \| \S+ 4", one.lines(1)[0])
    assert one.lines(1) == ["b-1 exited with code 137"]
    project.skiff("kill")
    for follower, ends in ((one, 2), (stamped, 1), (last, 3), (since, 1)):
        code, out, errors = follower.end()
        assert (code, len(out), errors) == (0, ends, "")


def test_containers_that_are_made_at_the_same_time_are_followed_too(stack, following):
    text = """
services:
  web: {{image: busybox, init: true, command: "sh -c 'echo {said}; sleep 1000'"}}
  other: {{image: busybox, init: true, command: "sh -c 'echo other; sleep 1000'"}}
"""
    project = stack(text.format(said="first"))
    project.skiff("up", "-d", "web")
    follow = following(project, "logs", "-f")
    only = following(project, "logs", "-f", "--no-log-prefix", "web")
    assert follow.lines(1) == ["web-1  | first"]
    assert only.lines(1) == ["first"]
    project.skiff("up", "-d", "web", "--scale", "web=2")
    assert follow.lines(1) == ["web-2  | first"]
    project.write(text.format(said="second"))
    project.skiff("up", "-d", "-t", "0", "web")
    assert without_codes(follow.lines(4)) == [
        "web-1  | second",
        "web-1 exited",
        "web-1 has been recreated",
        "web-2 exited",
    ]
    project.skiff("up", "-d", "other")
    assert follow.lines(1) == ["other-1  | other"]
    project.skiff("run", "-d", "other", "echo", "a one-off")
    project.skiff("down", "-t", "0")
    code, out, _ = follow.end()
    assert code == 0
    assert without_codes(out) == ["other-1 exited", "web-1 exited"]
    code, out, _ = only.end()
    assert (code, "other" in str(out)) == (0, False)


def test_following_ends_at_the_time_that_is_given(stack, following):
    project = stack(
        "services:\n  web: {image: busybox, init: true, command: \"sh -c 'while echo x; do sleep 0.05; done'\"}\n"
    )
    project.skiff("up", "-d")
    end = time.time() + 2
    follow = following(project, "logs", "-f", "--no-log-prefix", "-t", "--until", f"{end:.9f}")
    code, out, _ = follow.end()
    assert code == 0
    assert time.time() >= end
    stamps = [line.split()[0] for line in out]
    assert stamps == sorted(set(stamps))
    assert project.skiff("logs", "--no-log-prefix", "-t", "--until", f"{end:.9f}").stdout.splitlines() == out
    assert project.skiff("logs", "-f", "--until", "1h").stdout == ""


def test_who_follows_gets_every_line_once_while_the_engine_is_killed(home, busybox, tmp_path, following):
    lines = 300_000
    text = f"""
name: chased
services:
  flood: {{image: busybox, command: ["sh", "-c", "{BEGIN}; seq 1 {lines}; echo end >&2"]}}
  steady: {{image: busybox, init: true, command: "sh -c 'while echo tick; do sleep 0.05; done'"}}
"""
    project = Project.of(home, tmp_path, text)
    project.skiff("up", "-d")
    follow = following(project, "logs", "-f", "--no-log-prefix", "flood")
    begin(project, follow)
    for _ in range(5):
        kill_and_wait(pid_of(home, "engine"))
        eventually(lambda: project.skiff("logs", "-n", "1", "steady").stdout != "", 30, "an engine")
    code, out, errors = follow.end()
    assert (code, errors) == (0, "")
    assert [line for line in out if line.isdigit()] == [str(number) for number in range(1, lines + 1)]
    assert [line for line in out if not line.isdigit()] == ["end", "flood-1 exited with code 0"]


def test_a_log_with_limits_is_followed_whole_and_kept_in_part(stack, following, tmp_path):
    lines = 200_000
    project = stack(
        f"""
services:
  flood:
    image: busybox
    command: ["sh", "-c", "{BEGIN}; seq 1 {lines}"]
    logging: {{driver: json-file, options: {{max-size: 100k, max-file: "3"}}}}
"""
    )
    project.skiff("up", "-d")
    follow = following(project, "logs", "-f", "--no-log-prefix")
    begin(project, follow)
    project.skiff("wait", "flood", check=False)
    numbers = [str(number) for number in range(1, lines + 1)]
    code, out, _ = follow.end()
    assert (code, out) == (0, [*numbers, "flood-1 exited with code 0"])
    kept = project.skiff("logs", "--no-log-prefix").stdout.splitlines()
    assert "begin" not in kept
    assert kept == numbers[-len(kept) :]
    assert 200_000 < sum(len(line) + 1 for line in kept) <= 312_000
    assert project.skiff("logs", "--no-log-prefix", "-n", "20000").stdout.splitlines() == numbers[-20000:]
    directory = project.home.root / "containers" / project.inspect("flood")["Id"]
    assert len(list(directory.glob("log*.data"))) == 3
    project.skiff("rm", "-f")
    assert not directory.exists()


def test_attached_output_is_whole_whatever_is_kept_of_it(stack, following):
    lines = 100_000
    project = stack(
        f"services:\n  flood: {{image: busybox, command: seq 1 {lines}, logging: {{options: {{max-size: 20k}}}}}}\n"
    )
    code, out, _ = following(project, "up", "--no-log-prefix").end()
    assert code == 0
    assert out == ["Attaching to flood-1", *map(str, range(1, lines + 1)), "flood-1 exited with code 0"]


IMPATIENT = (
    "import compose.logs.following as following; following.DRAIN_S = 0.1; import compose.cli.main as m; m.main()"
)


@pytest.mark.parametrize("command", [("logs", "-f", "--no-log-prefix"), ("up", "--no-log-prefix")])
def test_who_reads_slowly_gets_all_of_what_has_ended_long_ago(stack, command):
    lines = 200_000
    project = stack(f'services:\n  flood: {{image: busybox, command: ["sh", "-c", "{BEGIN}; seq 1 {lines}"]}}\n')
    if command[0] == "logs":
        project.skiff("up", "-d")
    with subprocess.Popen(
        [sys.executable, "-c", IMPATIENT, *command],
        cwd=project.folder,
        env=project.home.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as slow:
        while slow.stdout.readline() != "begin\n":
            pass
        project.skiff("exec", "-T", "flood", "touch", "/go")
        eventually(lambda: project.inspect("flood")["State"]["Status"] == "exited")
        time.sleep(0.5)  # longer than it waits for output
        found = slow.stdout.read().splitlines()
    assert found == [*map(str, range(1, lines + 1)), "flood-1 exited with code 0"]
    assert slow.returncode == 0


def test_a_log_that_is_not_kept_is_reported_and_the_others_are_shown(stack):
    project = stack(
        """
services:
  loud: {image: busybox, command: echo loud}
  silent: {image: busybox, command: echo silent, logging: {driver: none}}
"""
    )
    shown = project.skiff("up").stdout.splitlines()
    assert {"loud-1    | loud", "silent-1  | silent"} < set(shown)
    for flags in ([], ["-f"]):
        done = project.skiff("logs", *flags)
        assert done.stdout == "loud-1    | loud\n"
        assert "Can't retrieve logs for \"" in done.stderr
        assert "configured logging driver does not support reading" in done.stderr
    assert "invalid size: 'lots'" in stack(
        "services: {a: {image: busybox, logging: {driver: local, options: {max-size: lots}}}}\n"
    ).refused("up", "-d")


def test_a_reader_that_has_enough_ends_it(stack):
    project = stack("services:\n  flood: {image: busybox, command: seq 1 300000}\n")
    project.skiff("up")
    for flags in (["--no-log-prefix"], [], ["-f"]):
        done = subprocess.run(
            ["bash", "-c", 'set -o pipefail; "$@" | head -1', "-", *SKIFF, "logs", *flags],
            cwd=project.folder,
            env=project.home.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout.endswith("1\n")
        assert (done.returncode, done.stderr) == (141, ""), flags


def test_a_reader_that_has_enough_of_what_comes_ends_it_too(stack):
    project = stack(
        "services:\n  web: {image: busybox, init: true, command: \"sh -c 'while echo x; do sleep 0.05; done'\"}\n"
    )
    project.skiff("up", "-d")
    for command in ("logs -f", "up"):
        done = subprocess.run(
            ["bash", "-c", 'set -o pipefail; "$@" | head -2', "-", *SKIFF, *command.split()],
            cwd=project.folder,
            env=project.home.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 141
        assert "Traceback" not in done.stderr
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*SKIFF, "logs", "-f"],
            cwd=project.folder,
            env=project.home.env,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "skiff: writing output: No space left on device\n")


def test_the_last_lines_are_not_followed_by_those_before_them_when_a_container_is_restarted(stack, following):
    project = stack(
        "services:\n  web: {image: busybox, init: true, command: \"sh -c 'seq 1 5; printf half; sleep 1000'\"}\n"
    )
    project.skiff("up", "-d")
    eventually(lambda: project.skiff("logs", "--no-log-prefix").stdout.endswith("half"))
    follow = following(project, "logs", "-f", "--no-log-prefix", "--tail", "2")
    assert follow.lines(1) == ["5"]
    project.skiff("restart", "-t", "0")
    out = follow.lines(7)
    eventually(lambda: project.skiff("logs", "--no-log-prefix").stdout.count("half") == 2)
    project.skiff("kill")
    code, rest, _ = follow.end()
    assert code == 0
    said = [line for line in [*out, *rest] if not line.startswith("web-1 exited")]
    assert said == ["half", "1", "2", "3", "4", "5", "half"]
