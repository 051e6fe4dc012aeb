"""Which devices a container can use: the default ones, those it was given, all when it is privileged."""

import pytest

from runtime.errors import SkiffError

pytestmark = pytest.mark.root

REFUSED = "Operation not permitted"
READ = "dd if={0} of=/dev/null bs=4k count=1 2>&1 && echo read"
WRITE = "(: >> {0}) 2>&1 && echo written"


def test_the_default_devices_work(ground):
    _code, said = ground.run(
        "for one in zero random urandom full; do head -c 1 /dev/$one | wc -c; done;"
        "echo > /dev/null && cat /dev/null && echo > /dev/full; ls -c /dev/ptmx"
    )
    assert said.splitlines()[:4] == ["1"] * 4
    assert "No space left on device" in said
    assert "/dev/ptmx" in said


def test_a_tunnel_can_be_opened_where_the_machine_has_them(ground):
    _code, said = ground.run("mknod /tun c 10 200 && (exec 3<> /tun) 2>&1; echo tried")
    assert said.endswith("tried\n")
    assert REFUSED not in said  # no such device, where the module is missing


def test_a_node_of_the_disk_can_be_made_but_not_opened(ground, disk):
    _, major, minor = disk
    _code, said = ground.run(f"mknod /disk b {major} {minor} && echo made; {READ.format('/disk')}")
    assert "made" in said
    assert REFUSED in said
    assert "read" not in said.splitlines()


def test_a_device_that_was_given_can_be_used_as_it_was_given(ground, disk):
    path, *_ = disk
    given = [{"PathOnHost": path, "PathInContainer": "/dev/given", "CgroupPermissions": "r"}]
    _code, said = ground.run(f"{READ.format('/dev/given')}; {WRITE.format('/dev/given')}", Devices=given)
    assert "read" in said.splitlines()
    assert REFUSED in said
    assert "written" not in said


def test_rules_allow_what_they_name(ground, disk):
    _, major, minor = disk
    script = f"mknod /disk b {major} {minor}; {READ.format('/disk')}; {WRITE.format('/disk')}"
    _code, said = ground.run(script, DeviceCgroupRules=[f"b {major}:* r"])
    assert "read" in said.splitlines()
    assert REFUSED in said
    assert "written" not in said
    assert "written" in ground.run(script, DeviceCgroupRules=["a *:* rwm"])[1]


def test_an_exec_is_held_to_the_same_rules(ground, disk):
    _, major, minor = disk
    id = ground.start()
    _code, said = ground.execute(id, f"mknod /disk b {major} {minor}; {READ.format('/disk')}")
    assert REFUSED in said


def test_a_privileged_container_can_use_every_device(ground, disk):
    path, *_ = disk
    _code, said = ground.run(f"{READ.format(path)}; {WRITE.format(path)}", Privileged=True)
    assert {"read", "written"} <= set(said.splitlines())


def test_a_rule_that_can_not_be_read_is_refused(ground):
    with pytest.raises(SkiffError, match="invalid device cgroup rule format: 'c 1 r'"):
        ground.start(DeviceCgroupRules=["c 1 r"])
