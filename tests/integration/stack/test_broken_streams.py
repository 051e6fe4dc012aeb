"""A stream that breaks off is no success: the engine dies in the middle of what a command waits for."""

import os
import secrets
import subprocess

import pytest

from tests.support.project import Project, eventually, kill_and_wait, pid_of

pytestmark = pytest.mark.root

STACK = "name: broken\nservices:\n  app: {build: ., image: app}\n"
SAID = "the engine closed the connection before the response was complete"
STEP = f"sleep {100_000 + secrets.randbelow(800_000)}"
"""A step that no other process on the machine looks like."""


def ended(process):
    output = process.communicate(timeout=60)[0]
    return process.returncode, output if isinstance(output, str) else output.decode()


def test_a_build_whose_engine_dies_is_not_built(home, busybox, tmp_path):
    project = Project.of(home, tmp_path, STACK, Dockerfile=f"FROM busybox\nRUN {STEP}\n")
    for command in (("build",), ("up", "-d", "--build")):
        process = project.spawn(*command)
        eventually(lambda: STEP in running(), what="the step")
        kill_and_wait(pid_of(home, "engine"))
        code, said = ended(process)
        assert code == 1
        assert SAID in said
        assert "Built" not in said
        eventually(lambda: STEP not in running(), what="the end of the step")


def running():
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("to_file", [True, False])
def test_an_image_that_is_saved_in_part_is_not_saved(home, busybox, tmp_path, to_file):
    large = tmp_path / "large"
    large.write_bytes(os.urandom(64 << 20))
    project = Project.of(home, tmp_path, STACK, Dockerfile="FROM busybox\nCOPY large /\n")
    project.skiff("build")
    folder = tmp_path / "archives"
    folder.mkdir()
    output = folder / "saved.tar"
    command = ["image", "save", "app", *(["-o", output] if to_file else [])]
    if to_file:
        process = project.spawn(*map(str, command))
        eventually(lambda: any(part.stat().st_size for part in folder.iterdir()), what="a part of the archive")
    else:
        process = project.spawn(*map(str, command))
        assert process.stdout.read(1)  # and no more: the engine waits for who reads
    kill_and_wait(pid_of(home, "engine"))
    output_bytes = process.communicate(timeout=60)[0]
    if to_file and output.exists():
        pytest.skip("the archive was whole before the engine was killed")
    assert process.returncode == 1
    assert SAID.encode() in output_bytes
    assert not list(folder.iterdir())


def test_a_load_whose_engine_dies_is_not_loaded(home, busybox_tar):
    home.skiff("engine", "start")
    process = subprocess.Popen(
        [*home.command, "image", "load"],
        env=home.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    process.stdin.write(busybox_tar.read_bytes()[:100_000])
    process.stdin.flush()
    kill_and_wait(pid_of(home, "engine"))
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert b"Loaded" not in output
    assert b"Traceback" not in output
