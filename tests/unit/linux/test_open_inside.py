"""openat2(2) during a loop of renames."""

import os
import subprocess
import sys

import pytest

from runtime.linux import syscalls as linux

LOOP = """
import os, sys
os.chdir(sys.argv[1])
print("on", flush=True)
while True:
    os.rename("x", "y/x")
    os.rename("y/x", "x")
"""


@pytest.fixture
def renames(tmp_path):
    """A process that renames directories all the time."""
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    with subprocess.Popen([sys.executable, "-c", LOOP, tmp_path], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield
        process.kill()


def test_a_path_with_dots_is_opened_while_others_rename(tmp_path, renames):
    (tmp_path / "a/b/c").mkdir(parents=True)
    root = os.open(tmp_path / "a", os.O_PATH | os.O_DIRECTORY)
    try:
        # one call in some hundreds is refused with EAGAIN where the renames go on at the same time
        for _ in range(20_000):
            os.close(linux.open_inside(root, b"b/../b/c/../../b/c", os.O_PATH, linux.RESOLVE_IN_ROOT))
    finally:
        os.close(root)
