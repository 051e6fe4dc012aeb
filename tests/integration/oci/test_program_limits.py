"""`skiff oci`: control groups, their limits, how they are changed, and what is reported of their use (config-linux.md)."""

import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from runtime.oci.cgroup import Cgroups
from tests.support.bundles import PROGRAM, wait

pytestmark = pytest.mark.root

is_unified = Cgroups().is_unified
legacy = pytest.mark.skipif(is_unified, reason="version 2 alone; tests/integration/cgroup has its machine")


def file(controller, path, name):
    directories = Cgroups().directories(path)
    return Path(directories.get("unified") or directories[controller]) / name


@legacy
def test_limits_are_those_of_the_document(oci):
    document = oci.document("sleep", "1000")
    document["linux"]["cgroupsPath"] = f"/skiff.oci/{oci.prefix}-limits"
    document["linux"]["resources"].update(
        memory={"limit": 64 << 20, "reservation": 32 << 20, "swappiness": 10},
        cpu={"shares": 300, "quota": 20000, "period": 50000, "burst": 10000, "cpus": "0", "mems": "0"},
        pids={"limit": 77},
    )  # fmt: skip
    oci.started(document)
    path = document["linux"]["cgroupsPath"]
    for controller, name, value in (
        ("memory", "memory.limit_in_bytes", 64 << 20), ("memory", "memory.soft_limit_in_bytes", 32 << 20),
        ("memory", "memory.swappiness", 10), ("cpu", "cpu.shares", 300), ("cpu", "cpu.cfs_quota_us", 20000),
        ("cpu", "cpu.cfs_period_us", 50000), ("cpu", "cpu.cfs_burst_us", 10000), ("cpuset", "cpuset.cpus", 0),
        ("pids", "pids.max", 77),
    ):  # fmt: skip
        assert int(file(controller, path, name).read_text()) == value, name


def test_update_changes_the_limits_that_it_names(oci):
    document = oci.document("sleep", "1000")
    document["linux"]["resources"]["pids"] = {"limit": 50}
    identity = oci.started(document)
    path = f"/skiff.oci/{identity}"
    oci("update", "--memory", "64m", "--cpu-quota", "30000", "--cpu-period", "60000", identity)
    memory = file("memory", path, "memory.max" if is_unified else "memory.limit_in_bytes")
    assert int(memory.read_text()) == 64 << 20
    assert int(file("pids", path, "pids.max").read_text()) == 50
    oci(
        "update", "--resources", "-", identity, input=json.dumps({"pids": {"limit": 60}, "memory": {"limit": 80 << 20}})
    )
    assert (int(memory.read_text()), int(file("pids", path, "pids.max").read_text())) == (80 << 20, 60)
    for words, reason in ((["--memory", "many"], "--memory"), (["--l3-cache-schema", "L3:0=f"], "Intel RDT")):
        assert reason in oci("update", *words, identity, check=False).stderr
    assert (
        "must be a whole number"
        in oci("update", "-r", "-", identity, check=False, input='{"pids": {"limit": "x"}}').stderr
    )
    refused = oci("update", "--cpuset-cpus", "9999", identity, check=False)
    assert (refused.returncode, "can't be set" in refused.stderr) == (1, True)


def test_too_many_processes_are_refused_by_the_kernel(oci):
    document = oci.document("sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 100 & done; echo all")
    document["linux"]["resources"]["pids"] = {"limit": 4}
    done = oci.run(document, check=False)
    assert "all" not in done.stdout
    assert "fork" in done.stderr


def test_a_limit_that_is_too_low_for_the_launch_is_reported(oci):
    document = oci.document("true")
    document["linux"]["resources"]["memory"] = {"limit": 4096}
    done = oci.run(document, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("skiff oci: ")
    assert "Traceback" not in done.stderr


def test_a_limit_that_the_machine_can_not_have_is_reported(oci):
    document = oci.document("true")
    document["linux"]["resources"]["rdma"] = {"mlx5_1": {"hcaHandles": 3}}
    done = oci.run(document, check=False)
    assert (done.returncode, "rdma" in done.stderr) == (1, True)
    document["linux"]["resources"] = {"unified": {"nothing.known": "1"}}
    assert oci.run(document, check=False).returncode == 1


def test_a_cgroup_that_is_not_empty_is_left_alone(oci):
    first = oci.document("sleep", "1000")
    first["linux"]["cgroupsPath"] = f"/skiff.oci/{oci.prefix}-shared"
    identity = oci.started(first)
    done = oci.run(first, check=False)
    assert (done.returncode, "is not empty" in done.stderr) == (1, True)
    assert oci.get(identity)["status"] == "running"


def test_delete_ends_what_the_container_left_in_its_cgroup(oci):
    document = oci.document("sh", "-c", "sleep 1000 & echo $!")
    document["linux"]["namespaces"] = [one for one in document["linux"]["namespaces"] if one["type"] != "pid"]
    identity = oci.create(document)
    pidfd = os.pidfd_open(oci.get(identity)["pid"])
    oci("start", identity)
    wait(pidfd)
    left = json.loads(oci("ps", "-f", "json", identity).stdout)
    assert left == [int(oci.out(identity))]
    oci("delete", identity)
    assert not os.path.exists(f"/proc/{left[0]}") or "State:\tZ" in Path(f"/proc/{left[0]}/status").read_text()


def test_events_report_what_is_used(oci):
    identity = oci.started(oci.document("sleep", "1000"))
    told = json.loads(oci("events", "--stats", identity).stdout)
    assert (told["type"], told["id"]) == ("stats", identity)
    data = told["data"]
    assert data["pids"]["current"] == 1
    assert data["memory"]["usage"]["usage"] > 0
    assert data["cpu"]["usage"]["total"] > 0


def test_events_go_on_until_the_end_and_report_killing(oci):
    shell = "read go; (sleep 0; exec dd if=/dev/zero of=/dev/null bs=200M count=1) 2>/dev/null; sleep 1000"
    fifo = oci.rootfs / "data/go"
    os.mkfifo(fifo)
    document = oci.document("sh", "-c", shell.replace("read go", "read go < /data/go"))
    document["linux"]["resources"]["memory"] = {"limit": 32 << 20, "swap": 32 << 20}
    identity = oci.started(document)
    watching = subprocess.Popen(
        [*PROGRAM, "--root", oci.state, "events", "--interval", "200ms", identity], stdout=subprocess.PIPE, text=True
    )
    timer = threading.Timer(30, watching.kill)
    timer.start()
    assert json.loads(watching.stdout.readline())["type"] == "stats"
    fifo.write_text("go\n")
    kinds = []
    while "oom" not in kinds:
        kinds.append(json.loads(watching.stdout.readline())["type"])
    oci("kill", identity, "KILL")
    watching.stdout.read()
    assert watching.wait(20) == 0
    timer.cancel()
    fifo.unlink()
