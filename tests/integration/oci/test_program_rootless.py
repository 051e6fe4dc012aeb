"""`skiff oci` for a user without root: what it needs is a user namespace of its own (runc(8), "--rootless")."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.integration.stack.test_permissions import AS_USER, UID
from tests.support.bundles import PROGRAM, busybox_rootfs

pytestmark = [pytest.mark.root, pytest.mark.unprivileged]


@pytest.fixture
def folder():
    """A directory of the user's with a root filesystem."""
    folder = Path(tempfile.mkdtemp(prefix="skiff-oci-", dir="/tmp"))
    busybox_rootfs(folder / "rootfs")
    subprocess.run(["chown", "-R", f"{UID}:{UID}", folder], check=True)
    yield folder
    shutil.rmtree(folder)


def as_user(folder, *words, check=True, **options):
    command = [*AS_USER, *PROGRAM, "--root", folder / "state", *words]
    options = {"capture_output": True, "text": True, **options}
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        **options,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def bundle(folder, *arguments, **changes):
    (folder / "config.json").unlink(missing_ok=True)
    as_user(folder, "spec", "--rootless")
    document = json.loads((folder / "config.json").read_text())
    document["process"].update(terminal=False, args=list(arguments))
    document["linux"].update(changes)
    (folder / "config.json").write_text(json.dumps(document))


def test_a_user_runs_a_container_as_its_root(folder):
    bundle(
        folder,
        "sh",
        "-c",
        "id -u; hostname; touch /x 2>&1; echo y > /dev/null && ls /proc/1/exe; ls /sys/kernel > /dev/null",
    )
    lines = as_user(folder, "run", "mine").stdout.splitlines()
    assert lines == ["0", "skiff", "touch: /x: Read-only file system", "/proc/1/exe"]
    assert as_user(folder, "list", "-q").stdout == ""


def test_a_user_goes_through_the_life_of_a_container(folder):
    bundle(folder, "sleep", "1000")
    with open(folder / "out", "wb") as out:
        as_user(folder, "create", "mine", capture_output=False, stdout=out, stderr=out)
    as_user(folder, "start", "mine")
    pid = json.loads(as_user(folder, "state", "mine").stdout)["pid"]
    assert os.stat(f"/proc/{pid}/root").st_uid in (0, UID)
    assert as_user(folder, "exec", "mine", "sh", "-c", "id -u; ps | grep -c sleep").stdout.split()[0] == "0"
    as_user(folder, "delete", "--force", "mine")
    assert as_user(folder, "state", "mine", check=False).returncode == 1


def test_what_a_user_may_not_is_reported(folder):
    bundle(folder, "true", resources={"memory": {"limit": 1 << 26}})
    done = as_user(folder, "run", "mine", check=False)
    assert (done.returncode, "none is delegated to this user" in done.stderr) == (1, True), done.stderr
    mapping = [{"containerID": 0, "hostID": 0, "size": 1}]
    bundle(folder, "true", uidMappings=mapping, gidMappings=mapping)
    done = as_user(folder, "run", "mine", check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert "uidMappings" in done.stderr or "newuidmap" in done.stderr
