"""`skiff oci`: what of the machine a container takes over: network devices and memory (config-linux.md)."""

import os
import socket
import subprocess

import pytest

from tests.support.bundles import PROGRAM

pytestmark = pytest.mark.root


@pytest.fixture
def apart(oci):
    """Run `skiff oci` in a network namespace with two veth devices, of which the other ends stay there."""
    script = (
        "set -e; ip link add name dev0 address 02:00:00:00:00:05 mtu 1400 type veth peer name end0;"
        "ip link add name dev1 type veth peer name end1;"
        "ip addr add 10.9.8.7/24 dev dev0; ip addr add fd00:9::7/64 dev dev0 nodad;"
        'ip addr add 169.254.3.3/16 scope link dev dev0; "$@"; echo; ip -o link'
    )

    def run(document, *more):
        folder, identity = oci.bundle(document)
        words = [*PROGRAM, "--root", str(oci.state), "run", *more, "--bundle", str(folder), identity]
        return subprocess.run(
            ["unshare", "-n", "sh", "-c", script, "sh", *words],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False,
        )  # fmt: skip

    return run


def test_the_loopback_of_a_new_network_is_up(oci):
    done = oci.run(oci.document("grep", "-c", "127.0.0.1", "/proc/net/fib_trie"))
    assert int(done.stdout) > 0


@pytest.mark.parametrize("users", [False, True])
def test_network_devices_move_with_their_addresses(oci, apart, users):
    document = oci.document("sh", "-c", "ip -o link; ip -o addr")
    document["linux"]["netDevices"] = {"dev0": {"name": "moved0"}, "dev1": {}}
    if users:
        mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        document["linux"].update(uidMappings=mapping, gidMappings=mapping)
        document["linux"]["namespaces"].append({"type": "user"})
    done = apart(document)
    assert done.returncode == 0, done.stderr
    inside, _, outside = done.stdout.rpartition("\n\n")
    moved = next(line for line in inside.splitlines() if " moved0" in line and "mtu" in line)
    assert "02:00:00:00:00:05" in moved
    assert "mtu 1400" in moved
    assert ",UP" in moved
    assert " dev1" in inside
    assert "10.9.8.7/24" in inside
    assert "fd00:9::7/64" in inside
    assert "169.254.3.3" not in inside
    assert "lo" in outside
    assert "moved0" not in outside
    assert "dev1" not in outside


def test_the_kernel_chooses_the_number_of_a_name(oci, apart):
    document = oci.document("sh", "-c", "ip -o link")
    document["linux"]["netDevices"] = {"dev0": {"name": "net%d"}, "dev1": {"name": "net%d"}}
    shown = apart(document).stdout
    assert " net0" in shown
    assert " net1" in shown


@pytest.mark.parametrize(
    ("devices", "reason"),
    [
        ({"dev0": {}, "absent": {}}, "this machine has no network device absent"),
        ({"dev0": {"name": "lo"}}, "the container has a network device lo"),
        ({"dev0": {"name": "same"}, "dev1": {"name": "same"}}, "two devices of one name"),
        ({"dev0": {"name": "a/b"}}, "can't be the name of a network device"),
        ({"dev0": {"name": "x" * 16}}, "can't be the name of a network device"),
        ({"lo": {"name": "lo1"}}, "lo can't be moved into the container"),
    ],
)
def test_network_devices_that_can_not_move_stay(oci, apart, devices, reason):
    document = oci.document("true")
    document["linux"]["netDevices"] = devices
    done = apart(document)
    assert reason in done.stderr
    assert not os.path.exists(f"/sys/class/net/{next(iter(devices))}x")
    assert "Traceback" not in done.stderr


def test_network_devices_need_a_network_namespace(oci):
    document = oci.document("true")
    document["linux"]["netDevices"] = {name: {} for _, name in socket.if_nameindex()}
    document["linux"]["namespaces"] = [one for one in document["linux"]["namespaces"] if one["type"] != "network"]
    assert "netDevices need a network namespace" in oci.run(document, check=False).stderr


@pytest.mark.skipif(not os.path.exists("/proc/self/numa_maps"), reason="this kernel has no NUMA policies")
@pytest.mark.parametrize(
    ("policy", "shown"),
    [
        ({"mode": "MPOL_BIND", "nodes": "0"}, "bind:0"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, "bind=static:0"),
        ({"mode": "MPOL_PREFERRED", "nodes": "0"}, "prefer:0"),
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0"}, "interleave:0"),
        ({"mode": "MPOL_LOCAL"}, "local"),
        ({"mode": "MPOL_DEFAULT"}, "default"),
    ],
)
def test_the_memory_policy_is_that_of_the_document(oci, policy, shown):
    document = oci.document("sleep", "1000")
    document["linux"]["memoryPolicy"] = policy
    identity = oci.started(document)
    with open(f"/proc/{oci.get(identity)['pid']}/numa_maps") as file:
        assert file.readline().split()[1] == shown
    assert oci("exec", identity, "head", "-n", "1", "/proc/self/numa_maps").stdout.split()[1] == shown


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"mode": "MPOL_ODD"}, "must be one of MPOL_DEFAULT"),
        ({"mode": "MPOL_BIND"}, "MPOL_BIND needs nodes"),
        ({"mode": "MPOL_LOCAL", "nodes": "0"}, "MPOL_LOCAL has no nodes"),
        ({"mode": "MPOL_BIND", "nodes": "a"}, "is not a list of nodes"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["odd"]}, "must be one of MPOL_F_STATIC_NODES"),
        ({"mode": "MPOL_BIND", "nodes": "900"}, "can't be set: invalid argument"),
        ({}, "linux.memoryPolicy.mode is missing"),
    ],
)
def test_a_memory_policy_that_can_not_be_is_reported(oci, policy, reason):
    document = oci.document("true")
    document["linux"]["memoryPolicy"] = policy
    done = oci.run(document, check=False)
    assert done.returncode == 1
    assert reason in done.stderr
