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
def test_swap_is_what_the_sum_leaves_beside_memory(memory, both):
    ((_, _, swap),) = [s for s in unified({"memory": {"limit": memory, "swap": both}}, bool) if "swap" in s[1]]
    assert swap == ("max" if both < 0 else max(0, both - memory))
