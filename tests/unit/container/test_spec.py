"""From Docker's configuration to the OCI document: what each setting becomes, what is refused."""

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.container import spec
from runtime.container.spec import ContainerPaths, MountPoint
from runtime.errors import BadRequestError, SkiffError
from runtime.linux.capability import NUMBERS
from runtime.oci import defaults


def place(*mounts, **options):
    files = {f"/etc/{name}": Path("/x") / name for name in ("hosts", "hostname", "resolv.conf")}
    return ContainerPaths(
        id="c" * 64, engine_id="e", layers=[Path("/l1"), Path("/l2")], upper=Path("/u"), work=Path("/w"), rootfs=None,
        mounts=mounts, files=files, **options,
    )  # fmt: skip


def build(config=None, host=None, *mounts, **options):
    return spec.build({"Cmd": ["true"], **(config or {})}, host or {}, place(*mounts, **options))


def refused(host):
    with pytest.raises(BadRequestError) as error:
        build({}, host)
    return error.value.message


names = st.sampled_from([*NUMBERS, "ALL"]).flatmap(
    lambda name: st.sampled_from([name, name.removeprefix("CAP_"), name.lower()])
)


@given(st.lists(names, max_size=6), st.lists(names, max_size=6))
def test_capabilities_are_added_and_dropped_as_docker_does(added, dropped):
    def plain(given_names):
        return {"CAP_" + name.upper().removeprefix("CAP_") for name in given_names}

    more, less = plain(added), plain(dropped)
    if "CAP_ALL" in more:
        wanted = set(NUMBERS) - less
    elif "CAP_ALL" in less:
        wanted = more - {"CAP_ALL"}
    else:
        wanted = (set(defaults.CAPABILITIES) | more) - less
    assert set(spec.capabilities({"CapAdd": added, "CapDrop": dropped})) == wanted


def test_an_unknown_capability_is_refused():
    assert refused({"CapAdd": ["NET_FOO"]}) == 'invalid CapAdd: unknown capability: "CAP_NET_FOO"'


def test_no_capability_is_inheritable_or_ambient():
    sets = build()["process"]["capabilities"]
    assert sorted(sets) == ["bounding", "effective", "permitted"]
    assert list(sets["bounding"]) == list(defaults.CAPABILITIES)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ({"Ulimits": [{"Name": "files", "Soft": 1, "Hard": 1}]}, "invalid ulimit type: files"),
        (
            {"Ulimits": [{"Name": "nofile", "Soft": 5, "Hard": 4}]},
            "ulimit soft limit must be less than or equal to hard limit: 5 > 4",
        ),
        ({"Sysctls": {"kernel.panic": "1"}}, 'sysctl "kernel.panic" is not in a separate kernel namespace'),
        (
            {"Sysctls": {"net/../kernel/panic": "1"}},
            'sysctl "net/../kernel/panic" is not in a separate kernel namespace',
        ),
        (
            {"Sysctls": {"net.ipv4.ip_forward": "1"}, "NetworkMode": "host"},
            'sysctl "net.ipv4.ip_forward" not allowed in host network namespace',
        ),
        (
            {"Sysctls": {"kernel.msgmax": "1"}, "IpcMode": "host"},
            'sysctl "kernel.msgmax" not allowed in host IPC namespace',
        ),
        ({"SecurityOpt": ["color=blue"]}, 'invalid --security-opt 2: "color=blue"'),
        (
            {"Devices": [{"PathOnHost": "/etc/passwd"}]},
            'error gathering device information while adding custom device "/etc/passwd": not a device node',
        ),
        (
            {"Devices": [{"PathOnHost": "/dev/nosuch"}]},
            'error gathering device information while adding custom device "/dev/nosuch": no such file or directory',
        ),
    ],
)
def test_what_no_container_can_have_is_refused(host, message):
    assert refused(host) == message


def test_limits_without_bound_and_of_every_kind_are_taken():
    kinds = "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
    document = build({}, {"Ulimits": [{"Name": kind, "Soft": -1, "Hard": -1} for kind in kinds]})
    assert {limit["type"] for limit in document["process"]["rlimits"]} == {f"RLIMIT_{kind.upper()}" for kind in kinds}


def test_a_mount_comes_after_what_it_lies_in():
    document = build(
        {},
        {},
        MountPoint("volume", "/a/b/c", "/v1"),
        MountPoint("volume", "/a", "/v2"),
        MountPoint("volume", "/etc", "/v3"),
    )
    order = [mount["destination"] for mount in document["mounts"]]
    assert order[0] == "/"
    assert order.index("/a") < order.index("/a/b/c")
    assert order.index("/etc") < order.index("/etc/hosts")


def test_who_brings_a_dev_brings_all_of_it():
    order = [m["destination"] for m in build({}, {}, MountPoint("bind", "/dev", "/dev"))["mounts"]]
    assert [one for one in order if one.startswith("/dev")] == ["/dev"]


def test_ipc_none_has_neither_shared_memory_nor_queues():
    order = [m["destination"] for m in build({}, {"IpcMode": "none"})["mounts"]]
    assert "/dev/shm" not in order
    assert "/dev/mqueue" not in order


def test_system_paths_are_shown_when_asked_for():
    for host in (
        {"SecurityOpt": ["systempaths=unconfined"]},
        {"Privileged": True},
        {"MaskedPaths": [], "ReadonlyPaths": []},
    ):
        settings = build({}, host)["linux"]
        assert (settings["maskedPaths"], settings["readonlyPaths"]) == ([], [])


@pytest.mark.parametrize("option", ["seccomp=unconfined", "seccomp:unconfined"])
def test_no_filter_when_unconfined_or_privileged(option):
    assert "seccomp" not in build({}, {"SecurityOpt": [option]})["linux"]
    assert "seccomp" not in build({}, {"Privileged": True})["linux"]
    assert "seccomp" in build()["linux"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["no-new-privileges"], True),
        (["no-new-privileges:true"], True),
        (["no-new-privileges=false"], False),
        (["apparmor=unconfined", "label=disable", "label:type:spc_t"], False),
    ],
)
def test_security_options_are_read_in_both_spellings(options, expected):
    assert build({}, {"SecurityOpt": options})["process"]["noNewPrivileges"] is expected


def test_a_variable_without_a_value_is_taken_away_and_defaults_give_way():
    environment = build({"Env": ["A=1", "B", "PATH=/x"], "Tty": True, "Hostname": "h"})["process"]["env"]
    assert environment == ["HOSTNAME=h", "TERM=xterm", "A=1", "PATH=/x"]


def test_on_the_hosts_network_the_name_is_the_hosts():
    assert build({}, {"NetworkMode": "host"})["hostname"] == os.uname().nodename
    assert "hostname" not in build({"Domainname": "d"}, {"UTSMode": "host"})
    assert build({"Domainname": "d", "Hostname": "h"})["domainname"] == "d"


def test_exec_keeps_the_containers_filter_groups_and_limits():
    host = {"GroupAdd": ["audio"], "Ulimits": [{"Name": "nofile", "Soft": 9, "Hard": 9}], "OomScoreAdj": 5}
    process, annotations, filters = spec.build_exec(
        {"Cmd": ["id"], "Privileged": True, "User": "app"}, {"User": "x"}, host, [0, 0]
    )
    assert annotations == {"skiff.user": "app", "skiff.group_add": "audio"}
    assert list(process["capabilities"]["bounding"]) == list(NUMBERS)
    assert filters == defaults.seccomp(defaults.CAPABILITIES)
    assert (process["rlimits"], process["oomScoreAdj"]) == ([{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 9}], 5)


PROFILE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_CHOWN"]}},
        {"names": ["write"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_CHOWN"]}},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
        {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.1"}},
        {"names": ["s390"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390x"]}},
        {"name": "old", "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "args": None},
    ],
}


def test_a_profile_is_read_as_docker_reads_it():
    filters = build({}, {"SecurityOpt": ["seccomp=" + json.dumps(PROFILE)]})["linux"]["seccomp"]
    assert filters == {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["old"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        ],
    }


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 1 << 65), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from("defaultAction syscalls names action args index value op includes caps minKernel".split()),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@given(
    st.one_of(st.text(), st.dictionaries(st.sampled_from(["defaultAction", "syscalls"]), json_values).map(json.dumps))
)
def test_what_is_no_profile_is_refused_and_nothing_else_happens(text):
    from runtime.container import seccomp_profile

    with suppress(BadRequestError):
        seccomp_profile.parse(text, (), "x86_64", "6.1.0-1-amd64")


host_values = st.one_of(st.none(), st.booleans(), st.integers(-1, 5), st.sampled_from(["", "host", "private", "ALL"]))


@given(
    st.dictionaries(
        st.sampled_from(
            "Privileged IpcMode PidMode UTSMode NetworkMode ReadonlyRootfs Init OomScoreAdj ShmSize".split()
        ),
        host_values,
    )
)
def test_any_mix_of_modes_is_a_document_or_a_clear_error(host):
    try:
        document = build({}, host)
    except SkiffError:
        return
    json.dumps(document, default=str)
    assert document["mounts"][0]["destination"] == "/"
    assert {"type": "mount"} in document["linux"]["namespaces"]
