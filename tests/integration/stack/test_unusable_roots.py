"""A first start where no engine can live ends in a message: what, where, and what to do."""

import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Home

pytestmark = pytest.mark.root


@pytest.fixture
def base():
    folder = Path(tempfile.mkdtemp(prefix="skiff-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@contextmanager
def mounted(target, kind, options):
    target.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", kind, "-o", options, kind, target], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", target], check=True)


def refused(home):
    """Try to start an engine; return what is said about it, to the user and in the log."""
    result = home.skiff("engine", "start", check=False)
    assert result.returncode == 1
    log = home.run / "engine.log"
    said = result.stderr + (log.read_text() if log.is_file() else "")
    for unwanted in ("Traceback", "Errno", "Error", "<"):
        assert unwanted not in said
    assert "$SKIFF_ROOT" in result.stderr
    return result.stderr


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize("place", ["root", "root and run"])
def test_a_read_only_filesystem_is_reported(base, is_there, place):
    disk = base / "disk"
    with mounted(disk, "tmpfs", "size=1m"):
        home = Home(disk / "root", (disk if "run" in place else base) / "run")
        if is_there:
            home.root.mkdir()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        said = refused(home)
        assert "Read-only file system" in said
        assert f"{disk}/r" in said
        assert "remount that filesystem read-write" in said


def test_a_filesystem_without_inodes_is_not_called_full(base):
    with mounted(base / "disk", "tmpfs", "size=8m,nr_inodes=8"):
        said = refused(Home(base / "disk/root", base / "run"))
        assert f"{base}/disk/root" in said
        assert "has room, but its filesystem can have no more files" in said


def test_a_run_directory_with_too_long_a_path_is_refused(base):
    said = refused(Home(base / "root", base / ("long" * 30)))
    assert "the path is too long: sockets in it would have paths of" in said
    assert "$SKIFF_RUN" in said


@pytest.mark.parametrize("blocking", ["state", "state/root", "state/root/layers", "state/root/tmp", "run"])
def test_a_file_in_the_place_of_a_directory_is_named(base, blocking):
    home = Home(base / "state/root", base / "run")
    path = base / blocking
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    said = refused(home)
    assert f"{path}: a file is where a directory must be" in said
    assert "move that file away" in said
    assert path.read_text() == "mine"


def test_a_full_filesystem_is_reported(base):
    disk = base / "disk"
    with mounted(disk, "tmpfs", "size=64k,nr_inodes=5"):
        said = refused(Home(disk / "root", base / "run"))
        assert "no space left on device" in said
        assert str(disk) in said
        assert "make room" in said


def test_a_filesystem_that_overlays_can_not_be_on_is_reported(base):
    for name in ("lower", "upper", "work"):
        (base / name).mkdir()
    layers = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work"
    with mounted(base / "disk", "overlay", layers):
        home = Home(base / "disk/root", base / "run")
        said = refused(home)
        assert f"{home.root}: this filesystem can't store containers' files" in said
        assert "ext4" in said
        assert not list((home.root / "tmp").iterdir())
