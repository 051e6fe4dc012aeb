"""`skiff oci`: namespaces, users, clocks, kernel values, devices, paths and filters (config-linux.md)."""

import json
import os
import socket
import struct
import subprocess
import threading

import pytest

from tests.support.bundles import wait

pytestmark = pytest.mark.root

FILES = {"pid": "pid", "network": "net", "mount": "mnt", "ipc": "ipc", "uts": "uts", "cgroup": "cgroup", "time": "time"}


def without(document, *kinds):
    document["linux"]["namespaces"] = [one for one in document["linux"]["namespaces"] if one["type"] not in kinds]
    return document


def with_namespaces(document, *entries):
    without(document, *(one["type"] for one in entries))
    document["linux"]["namespaces"] += entries
    return document


def mapped(document, host=100000, size=65536):
    mapping = [{"containerID": 0, "hostID": host, "size": size}]
    document["linux"].update(uidMappings=mapping, gidMappings=mapping)
    return with_namespaces(document, {"type": "user"})


@pytest.fixture
def owned(oci):
    """The root filesystem as one that users from 100000 on may change."""
    subprocess.run(["chown", "-R", "100000:100000", oci.rootfs], check=True)
    oci.folder.chmod(0o755)
    yield
    subprocess.run(["chown", "-R", "0:0", oci.rootfs], check=True)


def test_namespaces_are_new_or_the_callers_as_the_document_says(oci):
    shell = "for kind in pid net mnt ipc uts cgroup time; do readlink /proc/self/ns/$kind; done"
    document = with_namespaces(oci.document("sh", "-c", shell), {"type": "time"})
    own = [os.readlink(f"/proc/self/ns/{file}") for file in FILES.values()]
    assert not set(oci.run(document).stdout.split()) & set(own)
    document = without(oci.document("sh", "-c", shell), "pid", "network", "ipc", "uts", "cgroup")
    del document["hostname"]
    found = oci.run(document).stdout.split()
    assert [one for one in found if one not in own] == [one for one in found if one.startswith("mnt")]


def test_namespaces_of_another_container_are_joined(oci):
    first = with_namespaces(oci.document("sleep", "1000"), {"type": "time"})
    first["linux"]["timeOffsets"] = {"boottime": {"secs": 86400}}
    pid = oci.get(oci.started(first))["pid"]
    joined = ("pid", "network", "ipc", "uts", "cgroup", "time")
    shell = "for kind in pid net ipc uts cgroup time; do readlink /proc/self/ns/$kind; done; hostname; echo; ps"
    document = oci.document("sh", "-c", shell)
    del document["hostname"]
    with_namespaces(document, *({"type": kind, "path": f"/proc/{pid}/ns/{FILES[kind]}"} for kind in joined))
    found = oci.run(document).stdout.split("\n\n")
    assert found[0].split() == [*(os.readlink(f"/proc/{pid}/ns/{FILES[kind]}") for kind in joined), "skiff"]
    assert "sleep 1000" in found[1]


def test_a_namespace_that_is_none_is_reported(oci, tmp_path):
    for path, reason in (
        ("/nothing", "no such file"),
        ("/etc/passwd", "is not a network namespace"),
        ("/proc/self/ns/pid", "is not a network namespace"),
    ):
        document = with_namespaces(oci.document("true"), {"type": "network", "path": path})
        done = oci.run(document, check=False)
        assert (done.returncode, reason in done.stderr) == (1, True), done.stderr


def test_clocks_are_set_off(oci):
    document = with_namespaces(oci.document("cat", "/proc/uptime", "/proc/self/timens_offsets"), {"type": "time"})
    document["linux"]["timeOffsets"] = {"boottime": {"secs": 1000000, "nanosecs": 5}, "monotonic": {"secs": 2000}}
    lines = oci.run(document).stdout.splitlines()
    assert float(lines[0].split()[0]) > 1000000
    assert {line.split()[0]: line.split()[1:] for line in lines[1:]} == {
        "monotonic": ["2000", "0"], "boottime": ["1000000", "5"],
    }  # fmt: skip


def test_exec_has_the_containers_clocks(oci):
    document = with_namespaces(oci.document("sleep", "1000"), {"type": "time"})
    document["linux"]["timeOffsets"] = {"boottime": {"secs": 1000000}}
    identity = oci.started(document)
    assert float(oci("exec", identity, "cat", "/proc/uptime").stdout.split()[0]) > 1000000


def test_users_of_a_new_namespace_are_mapped(oci, owned):
    document = mapped(
        oci.document(
            "sh", "-c", "id -u; cat /proc/self/uid_map; touch /data/made; echo x > /dev/null; ls -ln /dev/null"
        )
    )
    document["process"]["user"] = {"uid": 5, "gid": 6}
    (oci.rootfs / "data").chmod(0o777)
    lines = oci.run(document).stdout.splitlines()
    assert lines[0] == "5"
    assert lines[1].split() == ["0", "100000", "65536"]
    made = (oci.rootfs / "data/made").stat()
    assert (made.st_uid, made.st_gid) == (100005, 100006)
    (oci.rootfs / "data/made").unlink()


def test_exec_enters_the_user_namespace(oci, owned):
    identity = oci.started(mapped(oci.document("sleep", "1000")))
    shell = "id -u; cat /proc/self/uid_map; grep CapEff /proc/self/status"
    lines = oci("exec", identity, "sh", "-c", shell).stdout.splitlines()
    assert lines[0] == "0"
    assert lines[1].split() == ["0", "100000", "65536"]
    pid = oci.get(identity)["pid"]
    assert os.stat(f"/proc/{pid}").st_uid in (0, 100000)
    assert oci("exec", "-u", "7:8", identity, "id", "-u").stdout == "7\n"


def test_a_user_namespace_is_joined_with_a_new_pid_namespace(oci, owned):
    pid = oci.get(oci.started(mapped(oci.document("sleep", "1000"))))["pid"]
    document = oci.document("sh", "-c", "echo $$; id -u; readlink /proc/self/ns/user")
    with_namespaces(document, {"type": "user", "path": f"/proc/{pid}/ns/user"})
    assert oci.run(document).stdout.split() == ["1", "0", os.readlink(f"/proc/{pid}/ns/user")]


def test_a_new_user_namespace_goes_with_a_network_of_the_host(oci, owned):
    document = mapped(oci.document("sh", "-c", "readlink /proc/self/ns/net; echo $$; cat /proc/self/uid_map"))
    holder = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
    try:
        while os.readlink(f"/proc/{holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            pass
        with_namespaces(document, {"type": "network", "path": f"/proc/{holder.pid}/ns/net"})
        for mount in document["mounts"]:  # a sysfs shows a network, which is not the namespace's own
            if mount["type"] == "sysfs":
                mount.update(type="none", source="/sys", options=["rbind", "nosuid", "noexec", "nodev", "ro"])
        found = oci.run(document).stdout.split()
        assert found == [os.readlink(f"/proc/{holder.pid}/ns/net"), "1", "0", "100000", "65536"]
    finally:
        holder.kill()
        holder.wait()


def test_names_and_kernel_values_are_the_namespaces_own(oci):
    document = oci.document(
        "sh", "-c", "hostname; cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax"
    )
    document.update(hostname="mine", domainname="my.domain")
    document["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "4242"}
    assert oci.run(document).stdout.split() == ["mine", "my.domain", "1", "4242"]
    document["linux"]["sysctl"] = {"vm.swappiness": "1"}
    assert "would change the host" in oci.run(document, check=False).stderr
    document["linux"]["sysctl"] = {"net.ipv4.nothing": "1"}
    assert "sysctl net.ipv4.nothing can't be set" in oci.run(document, check=False).stderr


def test_devices_are_made_with_their_modes_and_owners(oci):
    document = oci.document("sh", "-c", "stat -c '%F %t %T %a %u %g' /dev/mine /data/fifo; test -c /dev/tty && ls /dev")
    document["linux"]["devices"] = [
        {"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 4, "gid": 5},
        {"path": "/data/fifo", "type": "p", "fileMode": 0o600},
    ]
    lines = oci.run(document).stdout.splitlines()
    (oci.rootfs / "data/fifo").unlink()
    assert lines[0] == "character special file 1 3 640 4 5"
    assert lines[1].startswith("fifo 0 0 600 0 0")
    assert {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "fd", "stdin", "shm"} <= set(lines[2:])


def test_a_file_in_the_place_of_a_device_is_reported(oci):
    document = oci.document("true")
    document["linux"]["devices"] = [{"path": "/etc/passwd", "type": "c", "major": 1, "minor": 3}]
    assert "is not the requested device" in oci.run(document, check=False).stderr
    document["linux"]["devices"] = [{"path": "/dev/null", "type": "c", "major": 1, "minor": 3}]
    assert oci.run(document).stderr == ""


def test_devices_that_no_rule_allows_can_not_be_used(oci):
    document = oci.document("sh", "-c", "echo x > /dev/null && echo null; head -c 1 /dev/loop 2>&1")
    document["process"]["capabilities"] = {}
    document["linux"]["devices"] = [{"path": "/dev/loop", "type": "c", "major": 10, "minor": 237}]
    done = oci.run(document, check=False)
    assert done.stdout.splitlines()[0] == "null"
    assert "Operation not permitted" in done.stdout
    document["linux"]["resources"]["devices"].append(
        {"allow": True, "type": "c", "major": 10, "minor": 237, "access": "r"}
    )
    assert "Operation not permitted" not in oci.run(document, check=False).stdout


def test_paths_are_masked_and_protected(oci):
    (oci.rootfs / "data/secret").write_text("secret")
    document = oci.document(
        "sh", "-c", "cat /data/secret; ls -A /root | wc -l; touch /home/new 2>&1; touch /proc/sys/kernel/x 2>&1"
    )
    (oci.rootfs / "root/file").write_text("")
    document["linux"]["maskedPaths"] += ["/data/secret", "/root", "/nothing"]
    document["linux"]["readonlyPaths"] += ["/home"]
    lines = oci.run(document, check=False).stdout.splitlines()
    assert lines[0] == "0"
    assert "Read-only file system" in lines[1]
    assert len(lines) == 3


def test_a_root_filesystem_may_be_read_only(oci):
    document = oci.document("touch", "/data/x")
    document["root"]["readonly"] = True
    assert "Read-only file system" in oci.run(document, check=False).stderr


def test_a_container_may_do_without_pivot(oci):
    document = oci.document("sh", "-c", "ls /; cat /proc/self/mounts | grep -c ' / '; ls /..")
    done = oci.run(document, "--no-pivot")
    assert "rootfs" not in done.stdout
    assert "data" in done.stdout.split()


def seccomp(action, names=("mkdir", "mkdirat"), **more):
    rule = {"names": list(names), "action": action, **more}
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [rule],
    }


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_a_filter_decides_on_calls(oci, no_new_privileges):
    document = oci.document("sh", "-c", "mkdir /data/new; echo $?")
    document["process"]["noNewPrivileges"] = no_new_privileges
    document["linux"]["seccomp"] = {
        **seccomp("SCMP_ACT_ERRNO", errnoRet=75), "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"],
    }  # fmt: skip
    done = oci.run(document)
    assert (done.stdout, "Value too large" in done.stderr) == ("1\n", True)
    document["linux"]["seccomp"] = seccomp("SCMP_ACT_KILL_PROCESS")
    assert oci.run(document).stdout == "159\n"  # 128 + SIGSYS


def test_a_filter_looks_at_arguments(oci):
    document = oci.document("sh", "-c", "kill -10 1 2>&1; kill -0 1 && echo fine")
    rule = {"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}
    document["linux"]["seccomp"] = seccomp("SCMP_ACT_ERRNO", ["kill"], errnoRet=1, args=[rule])
    found = oci.run(document).stdout
    assert "Operation not permitted" in found
    assert found.endswith("fine\n")


@pytest.mark.parametrize(
    ("filters", "reason"),
    [
        ({"defaultAction": "SCMP_ACT_NOTHING"}, "unknown seccomp action"),
        (seccomp("SCMP_ACT_NOTIFY"), "needs listenerPath"),
        ({**seccomp("SCMP_ACT_NOTIFY", ["sendmsg"]), "listenerPath": "/x"}, "can't be the action of sendmsg"),
        (seccomp("SCMP_ACT_ALLOW", errnoRet=1), "takes no errno"),
        ({**seccomp("SCMP_ACT_ERRNO"), "flags": ["NO_FLAG"]}, "NO_FLAG"),
        ({**seccomp("SCMP_ACT_ERRNO"), "architectures": ["SCMP_ARCH_NONE"]}, "SCMP_ARCH_NONE"),
    ],
)
def test_a_filter_that_there_is_not_is_reported(oci, filters, reason):
    document = oci.document("true")
    document["linux"]["seccomp"] = filters
    done = oci.run(document, check=False)
    assert (done.returncode, reason in done.stderr) == (1, True), done.stderr


SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND = 0xC0502100, 0xC0182101


def test_an_agent_answers_for_calls(oci, tmp_path):
    """The agent gets the state and the listener, and answers the container's mkdir with an error number of its own."""
    import fcntl

    told = {}

    def agent(listener):
        connection, _ = listener.accept()
        data, (notice,), _, _ = socket.recv_fds(connection, 1 << 16, 1)
        told.update(json.loads(data))
        request = bytearray(80)
        fcntl.ioctl(notice, SECCOMP_IOCTL_NOTIF_RECV, request)
        (identity,) = struct.unpack_from("=Q", request)
        fcntl.ioctl(notice, SECCOMP_IOCTL_NOTIF_SEND, bytearray(struct.pack("=QqiI", identity, 0, -75, 0)))
        os.close(notice)

    document = oci.document("sh", "-c", "mkdir /data/new 2>&1; true")
    document["linux"]["seccomp"] = {
        **seccomp("SCMP_ACT_NOTIFY"), "listenerPath": str(tmp_path / "agent"), "listenerMetadata": "for you",
    }  # fmt: skip
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "agent"))
        listener.listen()
        thread = threading.Thread(target=agent, args=[listener], daemon=True)
        thread.start()
        done = oci.run(document)
        thread.join(20)
    assert "Value too large" in done.stdout
    assert (told["fds"], told["metadata"]) == (["seccompFd"], "for you")
    assert told["state"]["pid"] == told["pid"]


def test_an_agent_that_is_not_there_ends_the_container(oci):
    document = oci.document("sleep", "1000")
    document["linux"]["seccomp"] = {**seccomp("SCMP_ACT_NOTIFY"), "listenerPath": "/nothing"}
    identity = oci.create(document)
    pidfd = os.pidfd_open(oci.get(identity)["pid"])
    assert "the seccomp agent at /nothing" in oci("start", identity, check=False).stderr
    wait(pidfd)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ociVersion": "2.0.0"}, "ociVersion 2.0.0"),
        ({"ociVersion": 1}, "ociVersion must be a string"),
        ({"root": None}, "root is missing"),
        ({"root": {"path": "/nothing"}}, "is not a directory"),
        ({"process": None}, "process is missing"),
        ({"linux": {"sysctl": {"net.ipv4.ip_forward": 1}}}, "must be a string, not 1"),
        ({"annotations": [None, True]}, "annotations must be an object, not [null, true]"),
        (
            {"linux": {"namespaces": [{"type": "uts"}], "sysctl": {"kernel.hostname": "x"}}},
            "kernel.hostname conflicts with the property hostname",
        ),
        ({"process": {"args": [], "cwd": "/"}}, "process.args must not be empty"),
        ({"process": {"args": ["x"], "cwd": "x"}}, "process.cwd must be an absolute path"),
        ({"process": {"args": ["x", 1], "cwd": "/"}}, "process.args[1] must be a string"),
        ({"linux": {"namespaces": [{"type": "odd"}]}}, "'odd' must be one of"),
        ({"linux": {"namespaces": [{"type": "pid"}, {"type": "pid"}]}}, "has pid twice"),
        ({"linux": {"namespaces": [{"type": "mount"}, {"type": "user"}]}}, "needs linux.uidMappings"),
        ({"hostname": "x", "linux": {"namespaces": [{"type": "mount"}]}}, "hostname needs a UTS namespace"),
        ({"linux": {"intelRdt": {"closID": "x"}}}, "Intel RDT is not supported"),
        ({"linux": {"cgroupsPath": "a.slice:b:c"}}, "systemd cgroup manager"),
        ({"linux": {"cgroupsPath": "/../../x"}}, "must not be empty or contain"),
        ({"linux": {"rootfsPropagation": "odd"}}, "rootfsPropagation 'odd'"),
        ({"linux": {"devices": [{"path": "/dev/x", "type": "z"}]}}, "can't be created"),
        ({"hooks": {"prestart": [{"path": "relative"}]}}, "must be absolute"),
    ],
)  # fmt: skip
def test_a_document_that_can_not_be_followed_is_reported(oci, change, reason):
    document = oci.document("true")
    del document["hostname"]
    document["mounts"] = []
    document["linux"] = {"namespaces": [{"type": "mount"}, {"type": "pid"}]}
    for key, value in change.items():
        if key == "linux":
            document["linux"].update(value)
        else:
            document[key] = value
    done = oci.run(document, check=False)
    assert (done.returncode, reason in done.stderr) == (1, True), done.stderr
    assert "Traceback" not in done.stderr
