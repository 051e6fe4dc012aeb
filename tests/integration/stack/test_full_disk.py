"""No space left where the state is: clear words, an engine that survives, and a way out by its own commands."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.conftest import Home
from tests.support.project import Project, eventually, kill_and_wait, pid_of

pytestmark = pytest.mark.root

SIZE = "16m"
STACK = """
name: full
services:
  steady: {image: busybox, init: true, command: sleep infinity}
  writer:
    image: busybox
    init: true
    profiles: [more]
    command: "sh -c 'dd if=/dev/zero of=/file bs=1M count=100; echo wrote; sleep 1000'"
  logger:
    image: busybox
    init: true
    profiles: [more]
    command: "sh -c 'yes $$(seq 100 | tr -d \\"\\\\n\\") | head -c 50000000; sleep 1000'"
  built: {build: ., profiles: [more]}
"""


@pytest.fixture
def full(busybox_tar, tmp_path):
    """A stack whose engine has its state root on a very small filesystem."""
    base = Path(tempfile.mkdtemp(prefix="skiff-", dir="/tmp"))
    home = Home(base / "disk/root", base / "run")
    (base / "disk").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", base / "disk"], check=True)
    project = Project.of(home, tmp_path, STACK)
    project.name, project.disk = "full", base / "disk"
    try:
        home.skiff("image", "load", "-i", busybox_tar)
        project.skiff("up", "-d")
        project.steady = project.inspect("steady")["Id"]
        yield project
    finally:
        (base / "disk/filling").unlink(missing_ok=True)
        home.stop()
        subprocess.run(["umount", base / "disk"], check=True)
        shutil.rmtree(base)


def fill(disk):
    """Leave not one block on the filesystem."""
    with open(disk / "filling", "ab") as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    os.write(file.fileno(), b"\0" * size)
            except OSError:
                continue


def free(disk):
    held = os.statvfs(disk)
    return held.f_bavail * held.f_frsize


def assert_refused(project, *arguments):
    said = project.refused(*arguments)
    assert f"no space left on device: {project.home.root} is full" in said
    assert "make room, as with `skiff down`" in said


def assert_steady(project):
    state = project.inspect("steady")
    assert (state["Id"], state["State"]["Status"]) == (project.steady, "running")
    assert project.skiff("exec", "-T", "steady", "echo", "alive").stdout == "alive\n"


def test_a_build_and_a_load_that_do_not_fit_are_refused_and_leave_nothing(full, tmp_path):
    before = free(full.disk)
    (full.folder / "large").write_bytes(os.urandom(20 << 20))
    (full.folder / "Dockerfile").write_text("FROM busybox\nCOPY large /\n")
    assert_refused(full, "build", "built")
    (full.folder / "large").unlink()
    archive = tmp_path / "large.tar"
    with archive.open("wb") as file:
        file.truncate(40 << 20)
    assert_refused(full, "image", "load", "-i", archive)
    eventually(lambda: before - free(full.disk) < 1 << 20, what="the room that was taken since then")
    assert_steady(full)


def test_a_build_step_that_fills_the_disk_fails_with_its_own_words(full):
    (full.folder / "Dockerfile").write_text("FROM busybox\nRUN dd if=/dev/zero of=/file bs=1M count=100\n")
    said = full.refused("build", "built")
    assert "dd: error writing '/file': No space left on device" in said
    eventually(lambda: free(full.disk) > 4 << 20, what="room")
    assert_steady(full)


def test_a_container_that_fills_the_disk_is_removed_by_the_engines_own_commands(full):
    full.skiff("up", "-d", "writer")
    eventually(lambda: free(full.disk) == 0, what="a full disk")
    assert_steady(full)
    full.skiff("rm", "-fsv", "writer")
    eventually(lambda: free(full.disk) > 4 << 20, what="room")
    assert_steady(full)


def test_a_log_that_fills_the_disk_costs_nobody_else_anything(full):
    full.skiff("up", "-d", "logger")
    eventually(lambda: free(full.disk) == 0, what="a full disk")
    assert full.skiff("logs", "--tail", "2", "logger").stdout
    assert_steady(full)
    full.skiff("rm", "-fsv", "logger")
    eventually(lambda: free(full.disk) > 4 << 20, what="room")
    assert_steady(full)


def test_on_a_full_disk_attached_output_is_not_lost(full):
    script = "while read -r line; do echo got $$line; echo err $$line >&2; done"
    (full.folder / "compose.yaml").write_text(
        f"{STACK}  echo: {{image: busybox, init: true, stdin_open: true, profiles: [more], command: [sh, -c, {script!r}]}}\n"
    )
    full.skiff("create", "echo")
    full.skiff("start", "echo")
    attached = full.spawn("attach", "--sig-proxy=false", "echo", stdin=subprocess.PIPE)
    said = attached.stdout

    def exchange(word):
        attached.stdin.write(f"{word}\n".encode())
        attached.stdin.flush()
        return {said.readline().decode().strip() for _ in range(2)}

    assert exchange("before") == {"got before", "err before"}
    fill(full.disk)
    for number in range(200):
        assert exchange(f"full{number}") == {f"got full{number}", f"err full{number}"}
    (full.disk / "filling").unlink()
    assert exchange("after") == {"got after", "err after"}
    attached.kill()
    attached.communicate()
    logged = full.skiff("logs", "--no-log-prefix", "echo").stdout
    assert "got before\n" in logged
    assert "got after\n" in logged


def test_on_a_full_disk_what_runs_goes_on_and_stops_and_goes(full):
    fill(full.disk)
    assert_refused(full, "up", "-d", "--scale", "steady=2")
    assert_refused(full, "run", "--rm", "steady", "true")
    assert_steady(full)
    kill_and_wait(pid_of(full.home, "engine"))
    assert_steady(full)
    full.skiff("stop", "-t", "0")
    assert set(full.states().values()) == {"exited"}
    full.skiff("down", "-v", "-t", "0")
    assert full.states() == {}
    (full.disk / "filling").unlink()
    full.skiff("up", "-d")
    assert full.states() == {"full-steady-1": "running"}
