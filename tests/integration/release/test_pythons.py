"""The wheel, installed and run by each Python that Debian has (`.ci/pythons`), in a root file system of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import run

ROOT = os.environ.get("SKIFF_TEST_PYTHONS", "")
PYTHONS = sorted(
    path.name for path in Path(ROOT or "/nonexistent").glob("usr/bin/python3.*") if path.name[-1].isdigit()
)
ENTER = """
set -e
mount --make-rprivate /
mount -t overlay overlay -o lowerdir="$1",upperdir="$2/upper",workdir="$2/work" "$2/root"
mkdir -p "$2/root/old" "$2/root/packages" "$2/root/project"
for name in dev sys; do mount --rbind /$name "$2/root/$name"; done
mount -t proc proc "$2/root/proc"
for name in tmp run var/tmp; do mount -t tmpfs tmpfs "$2/root/$name"; done
mount --bind "$3" "$2/root/packages"
ip link set lo up
cd "$2/root"
pivot_root . old
export HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin
exec sh -ec "$4"
"""
USE = """
PYTHON -m venv /var/tmp/venv
/var/tmp/venv/bin/pip install -q --no-index --find-links /packages skiff
cd /project
mkdir -p rootfs/bin
cp /bin/busybox rootfs/bin/busybox
ln -s busybox rootfs/bin/sh
cat >compose.yaml <<END
services:
  db: {image: "rootfs:/project/rootfs", command: [sh, -c, "echo ready; sleep 100"]}
  web: {image: "rootfs:/project/rootfs", command: [sh, -c, "echo hello from web"], depends_on: [db]}
END
export SKIFF_ROOT=/var/tmp/root SKIFF_RUN=/var/tmp/run
/var/tmp/venv/bin/python -VV
/var/tmp/venv/bin/skiff --version
trap '/var/tmp/venv/bin/skiff engine stop --force >/dev/null 2>&1' EXIT
/var/tmp/venv/bin/skiff up --abort-on-container-exit
/var/tmp/venv/bin/skiff down
"""

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not PYTHONS, reason="no other Pythons: set SKIFF_TEST_PYTHONS=$(.ci/pythons)"),
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("packages")


@pytest.mark.parametrize("python", PYTHONS)
def test_a_stack_comes_up_with_the_wheel_on(python, wheel, cache, tmp_path):
    version = python.removeprefix("python")
    packages = cache / version
    run(
        sys.executable, "-m", "pip", "download", "-q", "--python-version", version, "--only-binary=:all:",
        "-d", packages, wheel,
    )  # fmt: skip
    for name in ("upper", "work", "root"):
        (tmp_path / name).mkdir()
    inside = ["sh", "-c", ENTER, "sh", ROOT, tmp_path, packages, USE.replace("PYTHON", python)]
    done = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", *map(str, inside)],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"Python {version}")
    assert re.search(r"web-1 +\| hello from web", done.stdout)
