"""A user without root, in a control group that was delegated to them (kernel cgroup-v2, "Delegation")."""

import os
from pathlib import Path

import pytest

from tests.support.engine import Engine
from tests.support.project import eventually
from tests.support.unprivileged import UserHome, unprivileged_user

pytestmark = [pytest.mark.root, pytest.mark.unprivileged]

GIVEN = ("", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control")


def test_a_user_limits_and_pauses_in_a_cgroup_that_is_theirs(is_unified, busybox_tar):
    if not is_unified:
        pytest.skip("cgroup version 1 delegates nothing; the virtual machine of this folder has version 2")
    with unprivileged_user(has_ranges=True) as user:
        given = Path("/sys/fs/cgroup", user.name)
        given.mkdir()
        for name in GIVEN:
            os.chown(given / name, user.uid, user.gid)
        home = UserHome(user)
        home.machine = ("sh", "-c", f'echo $$ > {given}/cgroup.procs; exec "$@"', "sh")
        home.skiff("engine", "start")
        try:
            client = Engine(home).client
            for _ in client.load([busybox_tar.read_bytes()]):
                continue
            look = "cd /sys/fs/cgroup; cat memory.max pids.max"
            assert Engine(home).run(look, Memory=64 << 20, PidsLimit=50).split() == [str(64 << 20), "50"]
            made = client.create_container({"Image": "busybox", "Cmd": ["sleep", "infinity"]})
            assert made["Warnings"] == []
            client.start(made["Id"])
            client.pause(made["Id"])
            assert client.container(made["Id"])["State"]["Paused"]
            client.unpause(made["Id"])
        finally:
            home.stop()
        eventually(lambda: not user.processes(), what="the end of the user's processes")
        for folder in sorted(given.rglob("*/"), reverse=True):
            folder.rmdir()
        given.rmdir()
