"""Layers that are mounted come and go with engines; containers keep theirs."""

from pathlib import Path

import pytest

from runtime.image.mounted_layers import ARCHIVE, MountedLayers
from tests.support.project import Project, kill_and_wait, pid_of

pytestmark = pytest.mark.root

STACK = "name: mounted\nservices:\n  web: {image: busybox, command: sleep infinity}\n"


@pytest.fixture(autouse=True)
def can_mount(tmp_path):
    """Skip where this kernel mounts no EROFS image from a file."""
    if not MountedLayers(tmp_path / "trial", "", is_wanted=True).is_possible:
        pytest.skip("this kernel mounts no EROFS images from files (Linux 6.12): layers are unpacked here")


@pytest.fixture
def project(home, busybox, tmp_path):
    return Project.of(home, tmp_path, STACK)


def mounts(home):
    """Return the mount points below the state root, in this mount namespace."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if line.split()[4].startswith(f"{home.root}/")]


def programs(project):
    return project.skiff("exec", "-T", "web", "ls", "/bin").stdout.split()


def test_the_engine_unmounts_them_at_its_end_and_containers_keep_their_files(home, project):
    project.skiff("up", "-d")
    found = programs(project)
    assert "busybox" in found
    assert len(mounts(home)) == 1
    home.skiff("engine", "stop")
    assert mounts(home) == []
    assert programs(project) == found
    project.skiff("up", "-d", "--force-recreate", "-t0")
    assert programs(project) == found
    project.skiff("down", "-t0")
    home.skiff("image", "rm", "busybox")
    assert mounts(home) == []


def test_what_a_killed_engine_has_mounted_the_next_one_uses_and_unmounts(home, project):
    project.skiff("up", "-d")
    before = mounts(home)
    kill_and_wait(pid_of(home, "engine"))
    assert mounts(home) == before
    project.skiff("up", "-d", "--force-recreate", "-t0")
    assert mounts(home) == before
    home.skiff("engine", "stop", "--force")
    assert mounts(home) == []


def test_the_variable_turns_it_off(home, busybox_tar):
    home.environment["SKIFF_UNPACK"] = "1"
    home.skiff("image", "load", "-i", busybox_tar)
    (layer,) = (home.root / "layers").iterdir()
    assert (layer / "diff/bin/busybox").exists()
    assert not (layer / ARCHIVE).exists()
