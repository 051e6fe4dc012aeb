"""What a container sees of its cgroup, and what it can do to it."""

from pathlib import Path

import pytest

from runtime.oci.cgroup import Cgroups
from tests.support.project import eventually

pytestmark = pytest.mark.root


def test_a_container_sees_its_cgroup_as_the_root(ground):
    look = "cat /proc/self/cgroup; ls /sys/fs/cgroup/*/pids.max /sys/fs/cgroup/pids.max 2>/dev/null"
    _code, said = ground.run(look, CgroupnsMode="private")
    paths = [line.split(":")[2] for line in said.splitlines() if line.count(":") == 2]
    own = {path for path, line in zip(paths, said.splitlines(), strict=False) if "name=" not in line}
    assert own == {"/"}
    assert "pids.max" in said


def test_a_container_has_the_hierarchy_of_systemd_where_the_host_has_it(ground, is_unified):
    has_it = not is_unified and "name=systemd" in Path("/proc/self/mounts").read_text()
    id = ground.start(CgroupnsMode="private")
    code, said = ground.execute(id, "grep -h . /sys/fs/cgroup/systemd/cgroup.procs; grep name=systemd /proc/1/cgroup")
    assert ("1" in said.splitlines()) == has_it
    assert said.endswith(":name=systemd:/\n") == has_it
    assert (code == 0) == has_it
    ground.client.kill(id)
    eventually(lambda: not ground.directories(id), what="the end of the cgroup")
    if has_it:
        assert id not in {folder.name for folder in Path("/sys/fs/cgroup/systemd").glob("skiff-*/*")}


def test_a_container_can_not_change_its_cgroup_unless_it_is_privileged(ground, is_unified):
    made = "/sys/fs/cgroup/made" if is_unified else "/sys/fs/cgroup/pids/made"
    code, said = ground.run(f"mkdir {made}")
    assert code == 1
    assert "Read-only file system" in said
    assert ground.run(f"mkdir {made} && echo done", Privileged=True) == (0, "done\n")


def test_a_container_that_divided_its_cgroup_is_joined_stopped_and_removed_whole(ground, is_unified):
    top = "/sys/fs/cgroup" if is_unified else "/sys/fs/cgroup/pids"
    divide = f"mkdir -p {top}/leaf/below && echo 1 > {top}/leaf/cgroup.procs"
    enable = f" && echo +pids > {top}/cgroup.subtree_control" if is_unified else ""
    id = ground.start(f"{divide}{enable} && echo ready; exec sleep 1000", Privileged=True)
    with ground.client.logs(id, follow=1) as stream:
        assert next(stream.frames())[1] == b"ready\n"
    assert ground.execute(id, "echo joined") == (0, "joined\n")
    assert len(ground.client.top(id)["Processes"]) == 1
    ground.client.kill(id)
    eventually(lambda: not ground.directories(id), what="the end of the cgroup")


def test_a_container_in_the_cgroup_namespace_of_the_host_changes_no_mount_of_it(ground):
    def options():
        lines = Path("/proc/self/mounts").read_text().splitlines()
        return [line for line in lines if line.split()[2] in ("cgroup", "cgroup2")]

    before = options()
    _code, said = ground.run("cat /proc/self/cgroup; mkdir /sys/fs/cgroup/made", CgroupnsMode="host")
    assert f"/skiff-{ground.engine_id}/" in said
    assert "Read-only file system" in said
    assert options() == before


def test_the_engine_stays_where_it_was_started(ground, is_unified):
    engine = ground.client.engine()
    own = [line for line in Path("/proc/self/cgroup").read_text().splitlines() if "process" not in line]
    for pid in (engine["engine_pid"], engine["keeper_pid"]):
        theirs = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        assert [line for line in theirs if "process" not in line] == own
    if is_unified:
        assert "pids" in Path(str(Cgroups().v2), "cgroup.subtree_control").read_text().split()
