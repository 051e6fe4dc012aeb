"""openat2(2) beside a loop of renames."""

import os
import subprocess
import sys

import pytest

from runtime.errors import KernelError
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
    path = b"b/../b/c/../../b/c"
    how = linux.OpenHow(os.O_PATH | os.O_CLOEXEC, 0, linux.RESOLVE_IN_ROOT)
    refused = 0
    try:
        for _ in range(5000):
            os.close(linux.open_inside(root, path, os.O_PATH, linux.RESOLVE_IN_ROOT))
            try:
                os.close(linux.call("openat2", root, path, how, 24))
            except KernelError:
                refused += 1
    finally:
        os.close(root)
    assert refused, "the kernel refuses nothing any more: then nothing has to be tried again"
