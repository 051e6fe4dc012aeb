"""What nobody else on the machine can read or run: a local user tries every kind of file of root's engine."""

import json
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

from runtime.paths import Paths
from tests.conftest import Home
from tests.support.api import Api
from tests.support.unprivileged import unprivileged_user

pytestmark = pytest.mark.root

SECRET = "correct-horse-battery"


@pytest.fixture(scope="module")
def other():
    """A user who is nobody special."""
    with unprivileged_user(has_ranges=False) as user:
        yield user


@pytest.fixture
def lived_in(busybox_tar):
    """An engine that has something of each kind: configuration, log, volume, secret, a set-user-ID program in a layer."""
    base = Path(tempfile.mkdtemp(prefix="skiff-", dir="/tmp"))
    base.chmod(0o755)
    home = Home(base / "root", base / "run")
    home.skiff("image", "load", "-i", busybox_tar)
    api = Api(home.run / "engine.sock")
    script = f"echo {SECRET}; echo {SECRET} > /data/file; cp /bin/busybox /owned; chmod 4755 /owned; sleep 1000"
    host = {"Binds": ["data:/data"]}
    id = api.run("sh", "-c", script, name="web", Env=[f"PASSWORD={SECRET}"], HostConfig=host)
    yield home, api, id
    home.stop()
    shutil.rmtree(base)


def as_user(user, *command):
    return subprocess.run(
        ["setpriv", "--reuid", str(user.uid), "--regid", str(user.gid), "--clear-groups", "--", *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
    )


def everything(home):
    """Return every file and directory of the engine's, as root sees them."""
    found = [home.root, home.run]
    for top in (home.root, home.run):
        for folder, folders, files in os.walk(top):
            found += [Path(folder) / name for name in (*folders, *files)]
    return found


def test_no_file_of_an_engine_can_be_reached_by_another_user(lived_in, other):
    home, _, id = lived_in
    paths = everything(home)
    kinds = {
        path.relative_to(home.root.parent).parts[1]
        for path in paths
        if len(path.relative_to(home.root.parent).parts) > 1
    }
    assert {"containers", "volumes", "layers", "networks", "images", "blobs", "engine.log", "engine.sock"} <= kinds
    list_of_paths = home.root.parent / "paths"
    list_of_paths.write_text("\n".join(map(str, paths)))
    reached = as_user(other, "sh", "-c", f'while read -r p; do [ -e "$p" ] && echo "$p"; done < {list_of_paths}').stdout
    assert reached.split() == [str(home.root), str(home.run)]
    for top in (home.root, home.run):
        assert "Permission denied" in as_user(other, "ls", top).stderr
    assert as_user(other, home.root / f"containers/{id}/upper/owned", "id").returncode != 0
    with pytest.raises(AssertionError):
        assert as_user(other, *home.command, "-H", home.host, "ps").returncode == 0


def test_what_an_engine_writes_down_is_its_users_alone_whatever_the_directories_are(lived_in):
    home, _, _ = lived_in
    for path in everything(home):
        parts = path.relative_to(home.root.parent).parts
        if path.is_file() and not {"upper", "work", "layers", "init-layer", "_data", "netns"} & set(parts):
            names_for_containers = {"hosts", "hostname", "resolv.conf"}
            assert path.name in names_for_containers or not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_a_root_that_was_open_is_closed_and_that_is_reported_once(lived_in, other):
    home, api, id = lived_in
    home.skiff("engine", "stop")
    home.root.chmod(0o711)
    home.skiff("engine", "start")
    home.skiff("engine", "stop")
    home.skiff("engine", "start")
    said = f"{home.root} was accessible to all users (mode 0711), and is closed now"
    assert (home.run / "engine.log").read_text().count(said) == 1
    assert stat.S_IMODE(home.root.stat().st_mode) == 0o700
    assert api.state(id)["Running"]


def test_members_of_the_group_that_is_named_use_the_socket_and_see_no_file(busybox_tar, other):
    base = Path(tempfile.mkdtemp(prefix="skiff-", dir="/tmp"))
    base.chmod(0o755)
    home = Home(base / "root", base / "run", {"SKIFF_GROUP": str(other.gid)})
    try:
        home.skiff("image", "load", "-i", busybox_tar)
        Api(home.run / "engine.sock").run("sleep", "1000", name="web", Env=[f"PASSWORD={SECRET}"])
        asked = as_user(other, "curl", "-sf", "--unix-socket", home.run / "engine.sock", "http://x/containers/web/json")
        assert json.loads(asked.stdout)["Name"] == "/web"
        for path in (home.run / "engine.log", home.run / "keeper.sock", Paths(home.root, home.run).containers):
            assert as_user(other, "cat", path).returncode != 0
        assert "Permission denied" in as_user(other, "ls", home.run).stderr
        assert "Permission denied" in as_user(other, "ls", home.root).stderr
    finally:
        home.stop()
        shutil.rmtree(base)


def test_a_group_that_there_is_not_is_reported(home):
    home.environment["SKIFF_GROUP"] = "no-such-group"
    said = home.skiff("engine", "start", check=False).stderr
    assert "$SKIFF_GROUP: there is no group 'no-such-group'" in said
    assert "groupadd no-such-group" in said
