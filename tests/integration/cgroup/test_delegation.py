"""Where an engine is not at the root of version 2's tree: what was delegated to it, and who is in the way there."""

import ctypes
import os
import pickle
from pathlib import Path

import pytest

from runtime.linux import syscalls as linux
from runtime.oci.cgroup import Cgroups

pytestmark = pytest.mark.root

SOMEONE = 1000
LIMITS = {"memory": {"limit": 32 << 20}, "cpu": {"quota": 50_000}, "pids": {"limit": 7}}


@pytest.fixture
def unified(is_unified):
    """The mount point of version 2's tree."""
    if not is_unified:
        pytest.skip("cgroup version 1 delegates nothing; `test_version_2` runs this where version 2 is")
    return Path(str(Cgroups().v2))


def in_child(function):
    """Call `function` in a forked child and return what it returned; an exception becomes the answer."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            answer = function()
        except BaseException as error:  # noqa: BLE001 - the parent raises it
            answer = error
        os.write(writer, pickle.dumps(answer))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        answer = pickle.loads(told.read())
    os.waitpid(pid, 0)
    if isinstance(answer, BaseException):
        raise answer
    return answer


def made_with_limits():
    """Make a cgroup with limits; return where, and what its files hold."""
    cgroups = Cgroups()
    cgroups.create("/skiff-test/one", LIMITS)
    directory = Path(cgroups.directories("/skiff-test/one")["unified"])
    held = {name: (directory / name).read_text().strip() for name in ("memory.max", "cpu.max", "pids.max")}
    cgroups.remove("/skiff-test/one")
    return str(directory), held, directory.exists() or directory.parent.exists()


HELD = {"memory.max": f"{32 << 20}", "cpu.max": "50000 100000", "pids.max": "7"}


def test_processes_at_the_root_of_a_cgroup_namespace_make_way(unified):
    box = unified / "box"
    Cgroups().create("/box/any", {})
    enabled = (box / "cgroup.subtree_control").read_text().split()
    (box / "cgroup.subtree_control").write_text(" ".join(f"-{controller}" for controller in enabled))
    (box / "any").rmdir()

    def inside():
        (box / "cgroup.procs").write_text("0")
        linux.call("unshare", linux.CLONE_NEWCGROUP | linux.CLONE_NEWNS)
        linux.mount(None, "/", None, linux.MS_PRIVATE | linux.MS_REC)
        linux.umount2(str(unified), linux.MNT_DETACH)
        linux.mount("cgroup2", str(unified), "cgroup2", 0)
        return made_with_limits(), Path("/proc/self/cgroup").read_text()

    try:
        (directory, held, is_left), own = in_child(inside)
        assert (directory, held, is_left) == (f"{unified}/skiff-test/one", HELD, False)
        assert own == "0::/init\n"
    finally:
        Cgroups().remove("/box/init")


def test_a_user_makes_cgroups_where_systemd_delegated_them(unified):
    own = "/user.slice/user-1000.slice/user@1000.service"
    Cgroups().create(f"{own}/app.slice/shell.scope", {})
    for folder in (own, f"{own}/app.slice", f"{own}/app.slice/shell.scope"):
        for name in ("", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"):
            os.chown(f"{unified}{folder}/{name}", SOMEONE, SOMEONE)

    def inside():
        (unified / f"{own[1:]}/app.slice/shell.scope/cgroup.procs").write_text("0")
        os.setresuid(SOMEONE, SOMEONE, SOMEONE)
        ctypes.CDLL(None).prctl(linux.PR_SET_DUMPABLE, 1)
        return made_with_limits()

    try:
        assert in_child(inside) == (f"{unified}{own}/skiff-test/one", HELD, False)
    finally:
        Cgroups().remove(f"{own}/app.slice/shell.scope")
        Cgroups().remove(own)
