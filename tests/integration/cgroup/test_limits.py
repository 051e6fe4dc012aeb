"""Limits reach the kernel, and the kernel holds containers to them; the same on cgroup version 1 and 2."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from runtime.client.blocking import Client
from runtime.errors import SkiffError
from runtime.oci.limits import cpu_weight, io_weight
from tests.support.machine import look
from tests.support.project import Project, eventually

pytestmark = pytest.mark.root

MIB = 1 << 20


def test_limits_reach_the_kernel(ground, is_unified):
    id = ground.start(
        Memory=64 * MIB,
        MemorySwap=96 * MIB,
        MemoryReservation=32 * MIB,
        NanoCpus=500_000_000,
        CpuShares=512,
        CpusetCpus="0",
        PidsLimit=50,
    )
    expected = (
        {
            "memory.max": f"{64 * MIB}",
            "memory.swap.max": f"{32 * MIB}",
            "memory.low": f"{32 * MIB}",
            "cpu.max": "50000 100000",
            "cpu.weight": f"{cpu_weight(512)}",
            "cpuset.cpus": "0",
            "pids.max": "50",
        }
        if is_unified
        else {
            "memory.limit_in_bytes": f"{64 * MIB}",
            "memory.memsw.limit_in_bytes": f"{96 * MIB}",
            "memory.soft_limit_in_bytes": f"{32 * MIB}",
            "cpu.cfs_quota_us": "50000",
            "cpu.cfs_period_us": "100000",
            "cpu.shares": "512",
            "cpuset.cpus": "0",
            "pids.max": "50",
        }
    )
    assert ground.settings(id, *expected) == expected
    assert ground.warnings == []


def test_quota_period_and_unlimited_swap_reach_the_kernel(ground, is_unified):
    id = ground.start(Memory=64 * MIB, MemorySwap=-1, CpuQuota=20_000, CpuPeriod=50_000, PidsLimit=-1)
    if is_unified:
        expected = {"memory.swap.max": "max", "cpu.max": "20000 50000", "pids.max": "max"}
    else:
        expected = {"cpu.cfs_quota_us": "20000", "cpu.cfs_period_us": "50000", "pids.max": "max"}
        # the highest number of pages that the kernel counts
        assert int(ground.settings(id, "memory.memsw.limit_in_bytes")["memory.memsw.limit_in_bytes"]) > 1 << 62
    assert ground.settings(id, *expected) == expected


def test_an_update_changes_a_running_container_up_and_down(ground, is_unified):
    id = ground.start(Memory=64 * MIB, NanoCpus=500_000_000)
    names = (
        ("memory.max", "memory.swap.max") if is_unified else ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
    )
    for memory in (128 * MIB, 32 * MIB):
        ground.client.json("POST", f"/containers/{id}/update", None, {"Memory": memory, "PidsLimit": 30})
        swap = memory if is_unified else 2 * memory
        assert ground.settings(id, *names, "pids.max") == dict(zip(names, map(str, (memory, swap)), strict=True)) | {
            "pids.max": "30"
        }


def test_limits_are_known_to_many_that_are_made_at_once(ground):
    def create(_):
        client = Client(ground.client.endpoint, starts=False)
        body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NanoCpus": 10**9, "PidsLimit": 9, "CpuShares": 9}}
        return client.create_container(body)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, range(8)))
    ground.made += [answer["Id"] for answer in answers]
    assert [answer["Warnings"] for answer in answers] == [[]] * 8


def test_a_fork_bomb_is_stopped(ground):
    code, said = ground.run("i=0; while [ $i -lt 60 ]; do sleep 1000 & i=$((i+1)); done", PidsLimit=20)
    assert "can't fork" in said
    assert code == 2


def test_a_stack_that_took_too_much_memory_says_so_and_leaves_nothing(ground, tmp_path, is_unified):
    before = look(ground.home.root).cgroups
    project = Project.of(
        ground.home,
        tmp_path / "hungry",
        """
        services:
          hog:
            image: busybox
            container_name: hog
            command: sh -c "sleep 1000 & exec tail /dev/zero"
            network_mode: none
            pid: host
            mem_limit: 16m
            memswap_limit: 16m
            mem_swappiness: 10
          neighbour:
            image: busybox
            command: sleep 1000
            network_mode: none
            cpus: 0.5
            stop_signal: SIGKILL
          after:
            image: busybox
            command: "true"
            network_mode: none
            depends_on:
              hog: {condition: service_completed_successfully}
              neighbour: {condition: service_started}
        """,
    )
    with ground.client.events({"type": ["container"], "event": ["oom", "die"]}) as events:
        result = project.skiff("up", "-d", check=False)
        assert result.returncode != 0
        assert "out of memory" in result.stderr
        told = events.documents()
        assert [next(told)["Action"] for _ in range(2)] == ["oom", "die"]
    assert ("Container hog Warning: Your kernel does not support memory swappiness" in result.stderr) == is_unified
    state = ground.client.container("hog")["State"]
    assert (state["OOMKilled"], state["ExitCode"], state["Status"]) == (True, 137, "exited")
    assert "Exited (137)" in project.skiff("ps", "-a").stdout
    project.skiff("down")
    left = {path for path in look(ground.home.root).cgroups - before if "standby" not in path}
    assert {path for path in left if os.path.basename(path) != f"skiff-{ground.engine_id}"} == set()


def test_a_paused_container_uses_no_time_and_can_be_killed(ground, is_unified):
    id = ground.start("while :; do :; done")
    eventually(lambda: ground.numbers(id)["cpu_ns"] > 0)
    ground.client.pause(id)
    file, frozen = ("cgroup.freeze", "1") if is_unified else ("freezer.state", "FROZEN")
    assert ground.settings(id, file) == {file: frozen}
    used, until = ground.numbers(id)["cpu_ns"], time.monotonic() + 0.05
    while time.monotonic() < until:
        assert ground.numbers(id)["cpu_ns"] == used
    ground.client.unpause(id)
    eventually(lambda: ground.numbers(id)["cpu_ns"] > used)
    ground.client.pause(id)
    ground.client.kill(id)
    assert ground.client.wait(id) == 137


def test_no_process_outlives_a_container_in_the_pid_namespace_of_the_host(ground):
    id = ground.start("sleep 1000 & (sleep 1000 &) & wait %2; read line; exit 3", PidMode="host", IpcMode="host")
    assert ground.client.wait(id) == 3
    eventually(lambda: not ground.directories(id), what="the end of the cgroup")


def test_statistics_are_what_the_kernel_counts(ground):
    id = ground.start(
        "dd if=/dev/zero of=/dev/shm/held bs=1M count=20 2>/dev/null; while :; do :; done",
        network="bridge", Memory=64 * MIB, NanoCpus=300_000_000, PidsLimit=40,
    )  # fmt: skip
    eventually(lambda: ground.numbers(id)["throttled_periods"] > 1 and ground.numbers(id)["memory"] > 20 * MIB)
    stats = ground.statistics(id)
    assert 20 * MIB < stats["memory_stats"]["usage"] < 64 * MIB
    assert stats["memory_stats"]["limit"] == 64 * MIB
    # counts by kind lag behind by up to 64 pages a processor (the kernel's MEMCG_CHARGE_BATCH)
    assert stats["memory_stats"]["stats"]["active_anon"] + stats["memory_stats"]["stats"]["inactive_anon"] > 19 * MIB
    assert stats["pids_stats"] == {"current": 1, "limit": 40}
    cpu, before = stats["cpu_stats"], stats["precpu_stats"]
    assert before["cpu_usage"]["total_usage"] < cpu["cpu_usage"]["total_usage"] < time.monotonic_ns()
    assert before["system_cpu_usage"] < cpu["system_cpu_usage"]
    assert cpu["throttling_data"]["throttled_periods"] > 1
    assert cpu["throttling_data"]["throttled_time"] > 0
    assert stats["networks"]["eth0"]["tx_packets"] >= 0


def test_the_limits_on_block_io_reach_the_kernel(ground, disk, is_unified):
    path, major, minor = disk
    id = ground.start(
        BlkioWeight=300,
        BlkioDeviceReadBps=[{"Path": path, "Rate": MIB}],
        BlkioDeviceWriteIOps=[{"Path": path, "Rate": 100}],
    )
    assert ground.warnings == []
    if is_unified:
        told = ground.settings(id, "io.max", "io.weight", "io.bfq.weight")
        assert told["io.max"] == f"{major}:{minor} rbps={MIB} wbps=max riops=max wiops=100"
        assert told["io.weight"] == f"default {io_weight(300)}"
        assert told["io.bfq.weight"] == "default 300"
    else:
        throttle = ("blkio.throttle.read_bps_device", "blkio.throttle.write_iops_device")
        assert ground.settings(id, *throttle) == dict(
            zip(throttle, (f"{major}:{minor} {MIB}", f"{major}:{minor} 100"), strict=True)
        )
        assert ground.settings(id, "blkio.bfq.weight")["blkio.bfq.weight"] in ("300", "default 300")


def test_the_reading_of_a_disk_is_counted(ground, disk):
    path, major, minor = disk
    id = ground.start(
        "dd if=/dev/disk of=/dev/null bs=64k count=4 iflag=direct 2>&1; exec sleep 1000",
        Devices=[{"PathOnHost": path, "PathInContainer": "/dev/disk", "CgroupPermissions": "r"}],
    )
    eventually(lambda: "records out" in ground.output(id))
    bytes_read = {
        (entry["major"], entry["minor"], entry["op"]): entry["value"]
        for entry in ground.statistics(id)["blkio_stats"]["io_service_bytes_recursive"]
    }
    assert bytes_read[major, minor, "read"] == 4 << 16


def test_real_time_shares_are_given_or_refused(ground, is_unified):
    shares = {"CpuRealtimePeriod": 1_000_000, "CpuRealtimeRuntime": 50_000}
    if is_unified:
        with pytest.raises(SkiffError, match="kernel does not support CPU real-time scheduler"):
            ground.start(**shares)
        return
    id = ground.start(**shares)
    names = ("cpu.rt_period_us", "cpu.rt_runtime_us")
    assert ground.settings(id, *names) == dict(zip(names, ("1000000", "50000"), strict=True))
    without = ground.start()
    os.sched_setscheduler(ground.processes(id)[0], os.SCHED_FIFO, os.sched_param(10))
    with pytest.raises(PermissionError):
        os.sched_setscheduler(ground.processes(without)[0], os.SCHED_FIFO, os.sched_param(10))


def test_what_version_2_has_no_limit_for_is_left_out_with_a_warning(ground, is_unified):
    id = ground.start(Memory=64 * MIB, MemorySwappiness=10, OomKillDisable=True)
    if is_unified:
        assert [warning.split(".")[0] for warning in ground.warnings] == [
            "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted",
            "Your kernel does not support OomKillDisable",
        ]
        assert ground.client.container(id)["HostConfig"].get("OomKillDisable") in (None, False)
    else:
        assert ground.warnings == []
        assert ground.settings(id, "memory.swappiness") == {"memory.swappiness": "10"}
        assert ground.settings(id, "memory.oom_control")["memory.oom_control"].startswith("oom_kill_disable 1")


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ({"Memory": MIB}, "Minimum memory limit allowed is 6MB"),
        ({"NanoCpus": 10**12}, "range of CPUs is from 0.01 to"),
        ({"CpusetCpus": "4000"}, "Requested CPUs are not available"),
        ({"BlkioWeight": 5}, "Range of blkio weight is from 10 to 1000"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_limit_that_can_not_be_is_refused_at_create(ground, host, message):
    with pytest.raises(SkiffError, match=message):
        ground.create("true", **host)
