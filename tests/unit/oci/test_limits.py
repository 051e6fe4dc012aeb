"""The files of either cgroup version that the limits of a document become."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.oci.limits import cpu_weight, io_weight, legacy, unified

EVERYTHING = {
    "memory": {"limit": 1000, "swap": 1500, "reservation": 500, "swappiness": 0, "disableOOMKiller": True},
    "cpu": {"shares": 1024, "quota": 5000, "period": 10000, "cpus": "0-1", "mems": "0"}
    | {"realtimePeriod": 1000, "realtimeRuntime": 100},
    "pids": {"limit": -1},
    "blockIO": {
        "weight": 500,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 2}],
    },
    "devices": [{"allow": False}, {"allow": True, "type": "c", "major": 1, "minor": -1, "access": "rw"}],
}


def test_version_1_gets_a_file_a_limit():
    assert legacy(EVERYTHING, {"blkio.bfq.weight"}.__contains__) == [
        ("memory", "memory.limit_in_bytes", 1000),
        ("memory", "memory.memsw.limit_in_bytes", 1500),
        ("memory", "memory.soft_limit_in_bytes", 500),
        ("memory", "memory.swappiness", 0),
        ("memory", "memory.oom_control", 1),
        ("cpu", "cpu.shares", 1024),
        ("cpu", "cpu.cfs_period_us", 10000),
        ("cpu", "cpu.cfs_quota_us", 5000),
        ("cpu", "cpu.rt_period_us", 1000),
        ("cpu", "cpu.rt_runtime_us", 100),
        ("cpuset", "cpuset.cpus", "0-1"),
        ("cpuset", "cpuset.mems", "0"),
        ("pids", "pids.max", "max"),
        ("blkio", "blkio.bfq.weight", 500),
        ("blkio", "blkio.bfq.weight_device", "8:0 10"),
        ("blkio", "blkio.throttle.read_bps_device", "8:0 1"),
        ("blkio", "blkio.throttle.write_iops_device", "8:16 2"),
        ("devices", "devices.deny", "a *:* rwm"),
        ("devices", "devices.allow", "c 1:* rw"),
    ]


def test_version_2_gets_swap_alone_weights_and_one_file_of_throttles():
    assert unified(EVERYTHING, {"io.weight", "io.bfq.weight"}.__contains__) == [
        ("memory", "memory.max", 1000),
        ("memory", "memory.swap.max", 500),
        ("memory", "memory.low", 500),
        ("cpu", "cpu.weight", 100),
        ("cpu", "cpu.max", "5000 10000"),
        ("cpuset", "cpuset.cpus", "0-1"),
        ("cpuset", "cpuset.mems", "0"),
        ("pids", "pids.max", "max"),
        ("io", "io.bfq.weight", 500),
        ("io", "io.bfq.weight", "8:0 10"),
        ("io", "io.weight", io_weight(500)),
        ("io", "io.weight", "8:0 1"),
        ("io", "io.max", "8:0 rbps=1"),
        ("io", "io.max", "8:16 wiops=2"),
    ]


def test_no_limits_are_no_files():
    assert legacy({}, bool) == unified({}, bool) == []


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 100), (262144, 10_000), (1, 1), (1 << 20, 10_000)])
def test_shares_of_note_have_weights_of_note(shares, weight):
    assert cpu_weight(shares) == weight


@given(st.integers(2, 1 << 18), st.integers(2, 1 << 18))
def test_more_shares_are_never_less_weight(one, other):
    low, high = sorted((one, other))
    assert 1 <= cpu_weight(low) <= cpu_weight(high) <= 10_000


@given(st.integers(10, 1000), st.integers(10, 1000))
def test_more_block_io_weight_is_never_less(one, other):
    low, high = sorted((one, other))
    assert 1 <= io_weight(low) <= io_weight(high) <= 10_000


@given(st.integers(1, 1 << 40), st.one_of(st.just(-1), st.integers(1, 1 << 40)))
def test_swap_is_the_sum_without_memory(memory, both):
    ((_, _, swap),) = [s for s in unified({"memory": {"limit": memory, "swap": both}}, bool) if "swap" in s[1]]
    assert swap == ("max" if both < 0 else max(0, both - memory))


MORE = {
    "memory": {"kernelTCP": 7},
    "cpu": {"burst": 100, "idle": 1},
    "blockIO": {"leafWeight": 20, "weightDevice": [{"major": 8, "minor": 0, "leafWeight": 30}]},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 4096}, {"pageSize": "1GB", "limit": 0}],
    "network": {"classID": 9, "priorities": [{"name": "eth0", "priority": 3}, {"name": "eth1"}]},
    "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 0}, "rxe3": {"hcaObjects": 10}},
}


def test_version_1_knows_every_controller_of_the_specification():
    assert legacy(MORE, {"hugetlb.2MB.rsvd.limit_in_bytes"}.__contains__) == [
        ("memory", "memory.kmem.tcp.limit_in_bytes", 7),
        ("cpu", "cpu.cfs_burst_us", 100),
        ("cpu", "cpu.idle", 1),
        ("net_cls", "net_cls.classid", 9),
        ("rdma", "rdma.max", "mlx5_1 hca_handle=3 hca_object=0"),
        ("rdma", "rdma.max", "rxe3 hca_object=10"),
        ("net_prio", "net_prio.ifpriomap", "eth0 3"),
        ("net_prio", "net_prio.ifpriomap", "eth1 0"),
        ("hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes", 4096),
        ("hugetlb", "hugetlb.2MB.limit_in_bytes", 4096),
        ("hugetlb", "hugetlb.1GB.limit_in_bytes", 0),
        ("blkio", "blkio.leaf_weight", 20),
        ("blkio", "blkio.leaf_weight_device", "8:0 30"),
    ]


def test_version_2_takes_its_own_settings_as_they_are():
    own = {"unified": {"io.max": "8:0 rbps=1\n8:16 wiops=2", "memory.high": "500", "unknown.file": ""}}
    assert unified({**MORE, **own}, {"hugetlb.2MB.rsvd.max"}.__contains__) == [
        ("cpu", "cpu.max.burst", 100),
        ("cpu", "cpu.idle", 1),
        ("rdma", "rdma.max", "mlx5_1 hca_handle=3 hca_object=0"),
        ("rdma", "rdma.max", "rxe3 hca_object=10"),
        ("hugetlb", "hugetlb.2MB.rsvd.max", 4096),
        ("hugetlb", "hugetlb.2MB.max", 4096),
        ("hugetlb", "hugetlb.1GB.max", 0),
        ("io", "io.max", "8:0 rbps=1"),
        ("io", "io.max", "8:16 wiops=2"),
        ("memory", "memory.high", "500"),
        ("unknown", "unknown.file", ""),
    ]
