"""What a container is given, as dockerd 28.5.2 gives it: mounts, addresses, namespaces, and what is refused."""

import os
import subprocess

import pytest

from tests.support.engine import Engine

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def engine(api, shared_home):
    return Engine(shared_home)


def test_a_read_only_root_has_read_only_name_files(engine):
    told = engine.run("for f in hosts hostname resolv.conf; do echo x >> /etc/$f; done 2>&1; true", ReadonlyRootfs=True)
    assert told.count("Read-only file system") == 3
    assert engine.run("echo '1.2.3.4 mine' >> /etc/hosts && grep -c mine /etc/hosts") == "1\n"


def test_an_interface_has_a_broadcast_address_and_none_of_ipv6(engine):
    told = engine.run("ip addr show eth0")
    assert "brd 172." in told.replace("brd ff:ff", "")
    assert "inet6" not in told
    assert "inet6 ::1" in engine.run("ip addr show lo")


def test_a_private_donor_of_ipc_is_refused(api, containers):
    donor, shared = containers("sleep", "60"), containers("sleep", "60", HostConfig={"IpcMode": "shareable"})
    for other, status in ((donor, 400), (shared, 204)):
        id = containers("true", start=False, HostConfig={"IpcMode": f"container:{other}"})
        answer = api.ask("POST", f"/containers/{id}/start")
        assert answer.status == status
        if status == 400:
            assert answer.message == (
                f"failed to join IPC namespace: container {donor}: non-shareable IPC (hint: use IpcMode:shareable for "
                "the donor container)"
            )


def test_namespaces_of_what_is_not_there_or_does_not_run_are_refused(api, containers):
    idle = containers("true", start=False)
    for key in ("IpcMode", "PidMode"):
        body = {"Image": "busybox", "HostConfig": {key: "container:nobody"}}
        answer = api.ask("POST", "/containers/create", body)
        assert (answer.status, answer.message) == (400, "No such container: nobody")
    id = containers("true", start=False, HostConfig={"PidMode": f"container:{idle}"})
    answer = api.ask("POST", f"/containers/{id}/start")
    assert (answer.status, answer.message) == (500, f"failed to join PID namespace: container {idle} is not running")


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ({"SecurityOpt": ["no-new-privileges:x"]}, "invalid --security-opt"),
        ({"Annotations": {"": "x"}}, "the empty string is not permitted as an annotation key"),
        ({"CgroupnsMode": "foo"}, "invalid cgroup namespace mode: foo"),
        ({"Mounts": [{"Type": "foo", "Target": "/x"}]}, 'invalid mount config for type "foo": mount type unknown'),
        ({"Mounts": [{"Type": "volume"}]}, 'invalid mount config for type "volume": field Target must not be empty'),
        (
            {"Mounts": [{"Type": "tmpfs", "Source": "a", "Target": "/x"}]},
            'invalid mount config for type "tmpfs": field Source must not be specified',
        ),
    ],
    ids=str,
)
def test_what_cannot_be_asked_of_a_host_is_refused(api, host, message):
    answer = api.ask("POST", "/containers/create", {"Image": "busybox", "HostConfig": host})
    assert (answer.status, message in answer.message) == (400, True), answer.message


def test_a_kernel_value_that_cannot_be_is_named(api, containers):
    id = containers("true", start=False, HostConfig={"Sysctls": {"kernel.shmmax": "x"}})
    answer = api.ask("POST", f"/containers/{id}/start")
    assert answer.message.endswith('failed to write sysctl kernel.shmmax = "x": invalid argument')


def test_mounts_that_want_peers_need_them(api, containers, tmp_path):
    body = {"Mounts": [{"Type": "bind", "Source": "/proc", "Target": "/x", "BindOptions": {"Propagation": "rshared"}}]}
    id = containers("true", start=False, HostConfig=body)
    answer = api.ask("POST", f"/containers/{id}/start")
    with open("/proc/self/mountinfo") as file:
        is_shared = any(" /proc " in line and "shared:" in line for line in file)
    if is_shared:
        assert answer.status == 204
    else:
        assert (answer.status, answer.message) == (500, "path /proc is mounted on /proc but it is not a shared mount")


def test_below_a_read_only_mount_all_is_read_only_unless_asked_otherwise(engine, tmp_path):
    (tmp_path / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path / "below"], check=True)
    try:
        for options, told in (({}, "no\n"), ({"ReadOnlyNonRecursive": True}, "yes\n")):
            mount = {"Type": "bind", "Source": str(tmp_path), "Target": "/x", "ReadOnly": True, "BindOptions": options}
            assert (
                engine.run(
                    "touch /x/f 2>/dev/null && echo wrong; touch /x/below/f 2>/dev/null && echo yes || echo no", mount
                )
                == told
            )
    finally:
        subprocess.run(["umount", tmp_path / "below"], check=True)


def test_lists_are_filtered_by_the_port_on_the_host(api, containers):
    host = {"PortBindings": {"80/tcp": [{"HostPort": "18097"}]}}
    id = containers("sleep", "60", HostConfig=host, ExposedPorts={"80/tcp": {}, "90/tcp": {}})
    for text, is_found in (("publish=18097", True), ("publish=80", False), ("expose=80", True), ("expose=90/tcp", True),
                           ("publish=18000-18100/tcp", True), ("expose=18097", False)):  # fmt: skip
        key, value = text.split("=")
        rows = api.ask("GET", f'/containers/json?filters={{"{key}":["{value}"]}}').json
        assert (id in {row["Id"] for row in rows}) == is_found, text


def test_settings_of_an_interface_take_its_name_in_any_case(api, containers):
    options = {"com.docker.network.endpoint.sysctls": "net.ipv4.conf.ifname.log_martians=1"}
    id = containers("sleep", "60", NetworkingConfig={"EndpointsConfig": {"bridge": {"DriverOpts": options}}})
    assert api.ask("GET", f"/containers/{id}/json").json["State"]["Running"]


def test_a_container_may_write_its_cgroup_where_that_is_asked_for(api, engine):
    mounted = "grep ' /sys/fs/cgroup' /proc/mounts | tail -n 1 | cut -d' ' -f4 | cut -d, -f1"
    for option, access in (
        ("writable-cgroups=true", "rw"),
        ("writable-cgroups", "rw"),
        ("writable-cgroups=false", "ro"),
    ):
        assert engine.run(mounted, SecurityOpt=[option]) == f"{access}\n"
    body = {"Image": "busybox", "HostConfig": {"SecurityOpt": ["writable-cgroups=x"]}}
    assert api.ask("POST", "/containers/create", body).message == 'invalid --security-opt 2: "writable-cgroups=x"'


def test_the_cgroup_namespace_is_the_hosts_by_default_in_version_1(api, containers):
    id = containers("sh", "-c", "readlink /proc/1/ns/cgroup; sleep 60")
    shown = api.ask("GET", f"/containers/{id}/json").json["HostConfig"]["CgroupnsMode"]
    version = api.ask("GET", "/info").json["CgroupVersion"]
    assert shown == {"1": "host", "2": "private"}[version]
    pid = api.state(id)["Pid"]
    is_shared = os.readlink(f"/proc/{pid}/ns/cgroup") == os.readlink("/proc/self/ns/cgroup")
    assert is_shared == (shown == "host")


def test_a_network_of_ipv6_alone_says_so(api, containers):
    assert api.ask("POST", "/networks/create", {"Name": "six", "EnableIPv4": False, "EnableIPv6": True}).status == 201
    id = containers("sleep", "60", HostConfig={"NetworkMode": "six"})
    network = api.ask("GET", "/networks/six").json
    assert (network["EnableIPv4"], network["EnableIPv6"], network["Containers"][id]["IPv4Address"]) == (False, True, "")
    shown = api.ask("GET", f"/containers/{id}/json").json["NetworkSettings"]["Networks"]["six"]
    assert (shown["IPAddress"], shown["IPPrefixLen"], shown["Gateway"]) == ("", 0, "")
    assert shown["GlobalIPv6Address"]
    assert (
        api.ask("POST", "/networks/create", {"Name": "none-of", "EnableIPv4": False}).message
        == "IPv4 or IPv6 must be enabled"
    )
    api.remove(id)
    assert api.ask("DELETE", "/networks/six").status == 204


def test_changes_have_what_was_made_to_mount_on_and_history_what_was_committed(api, containers):
    id = containers("true", HostConfig={"Tmpfs": {"/deep/er": ""}})
    api.wait(id)
    assert api.ask("GET", f"/containers/{id}/changes").json == [
        {"Path": "/deep", "Kind": 1},
        {"Path": "/deep/er", "Kind": 1},
    ]
    first = api.ask("POST", f"/commit?container={id}&repo=line&tag=1").json["Id"]
    made = api.ask("POST", "/containers/create", {"Image": "line:1", "Cmd": ["true"]}).json["Id"]
    api.ask("POST", f"/commit?container={made}&repo=line&tag=2")
    api.remove(made)
    rows = api.ask("GET", "/images/line:2/history").json
    assert [row["Tags"] for row in rows[:2]] == [["line:2"], ["line:1"]]
    assert "busybox:latest" in rows[2]["Tags"]  # among those that other tests of this engine gave it
    assert rows[1]["Id"] == first
    for name in ("line:2", "line:1"):
        api.ask("DELETE", f"/images/{name}")
