"""Which limits of a HostConfig are refused, which are left out with a warning, which reach the document."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.container.resources import FEATURES, features, parse_list, resources, settle
from runtime.errors import BadRequestError

ALL, CPUS = frozenset(FEATURES), frozenset(range(4))
MIB = 1 << 20
LIMITS = {
    "Memory": 64 * MIB,
    "MemorySwap": 128 * MIB,
    "MemoryReservation": 32 * MIB,
    "MemorySwappiness": 0,
    "OomKillDisable": True,
    "PidsLimit": 10,
    "CpuShares": 512,
    "CpuQuota": 5000,
    "CpuPeriod": 10_000,
    "CpuRealtimeRuntime": 500,
    "CpusetCpus": "0-2",
    "BlkioWeight": 100,
    "BlkioWeightDevice": [{"Path": "/dev/sda", "Weight": 100}],
    "BlkioDeviceReadBps": [{"Path": "/dev/sda", "Rate": 1}],
    "BlkioDeviceWriteIOps": [{"Path": "/dev/sda", "Rate": 1}],
}


def test_a_machine_that_can_limit_everything_leaves_nothing_out():
    assert settle(LIMITS, ALL, CPUS) == (LIMITS, [])


def test_a_machine_that_can_limit_nothing_says_each_that_it_leaves_out():
    kept, warnings = settle({**LIMITS, "CpuRealtimeRuntime": 0}, (), CPUS)
    assert {key: value for key, value in kept.items() if value} == {"MemorySwap": -1}
    assert len(warnings) == 12
    assert all(warning.startswith("Your kernel does not support ") for warning in warnings)
    assert resources(kept, privileged=True) == {}


@given(st.dictionaries(st.sampled_from(sorted(LIMITS)), st.just(0)), st.sets(st.sampled_from(sorted(FEATURES))))
def test_what_is_not_asked_for_is_not_missed(zeros, offered):
    asked = {**zeros, "MemorySwappiness": -1, "PidsLimit": -1, "OomKillDisable": False}
    assert settle(asked, offered, CPUS)[1] == []


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ({"Memory": MIB}, "Minimum memory limit allowed is 6MB"),
        ({"Memory": 64 * MIB, "MemorySwap": 32 * MIB}, "Minimum memoryswap limit should be larger than memory limit"),
        ({"MemorySwap": 32 * MIB}, "You should always set the Memory limit when using Memoryswap limit"),
        ({"MemorySwappiness": 101}, "valid memory swappiness range is 0-100"),
        ({"MemoryReservation": MIB}, "Minimum memory reservation allowed is 6MB"),
        ({"Memory": 8 * MIB, "MemoryReservation": 9 * MIB}, "can not be less than memory reservation limit"),
        ({"NanoCpus": 1, "CpuPeriod": 1000}, "Nano CPUs and CPU Period cannot both be set"),
        ({"NanoCpus": 1, "CpuQuota": 1000}, "Nano CPUs and CPU Quota cannot both be set"),
        ({"NanoCpus": 4_000_000_001}, "range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available"),
        ({"CpuPeriod": 999}, "CPU cfs period can not be less than 1ms"),
        ({"CpuQuota": 999}, "CPU cfs quota can not be less than 1ms"),
        ({"CpuRealtimeRuntime": 2, "CpuRealtimePeriod": 1}, "cpu real-time runtime cannot be higher"),
        ({"CpusetCpus": "3-4"}, "Requested CPUs are not available - requested 3-4, available: 0-3"),
        ({"CpusetCpus": "a"}, "Invalid value a for cpuset cpus"),
        ({"BlkioWeight": 9}, "Range of blkio weight is from 10 to 1000"),
    ],
    ids=str,
)
def test_a_limit_that_can_not_be_is_refused_as_docker_does(host, message):
    with pytest.raises(BadRequestError, match=message):
        settle(host, ALL, CPUS)


@pytest.mark.parametrize("name", ["CpuRealtimePeriod", "CpuRealtimeRuntime"])
def test_real_time_without_a_scheduler_for_it_is_refused(name):
    with pytest.raises(BadRequestError, match="kernel does not support CPU real-time scheduler"):
        settle({name: 1000}, ALL - {"cpu_realtime"}, CPUS)


def test_cpus_without_a_controller_are_refused():
    with pytest.raises(BadRequestError, match="NanoCPUs can not be set"):
        settle({"NanoCpus": 1}, ALL - {"cpu_quota"}, CPUS)


def test_either_version_shows_its_features_by_its_files():
    assert features({"memory.max", "pids.max", "io.max"}) == {"memory", "pids", "io_throttle"}
    assert features({"memory.limit_in_bytes", "cpu.rt_runtime_us"}) == {"memory", "cpu_realtime"}


@given(st.sets(st.integers(0, 300)))
def test_a_list_of_numbers_is_read_as_it_is_written(numbers):
    assert parse_list(",".join(map(str, sorted(numbers)))) == numbers


def test_a_list_has_ranges():
    assert parse_list("0-2,5\n") == {0, 1, 2, 5}


def test_swap_is_as_much_again_where_nothing_is_said():
    assert resources({"Memory": 10}, privileged=True) == {"memory": {"limit": 10, "swap": 20}}


def test_rules_on_devices_come_after_the_default_ones_in_their_order():
    rules = resources({"DeviceCgroupRules": ["c 13:* r", "a *:* rwm"], "Devices": [{"PathOnHost": "/dev/null"}]})
    assert rules["devices"][-3:] == [
        {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
        {"allow": True, "type": "c", "major": 13, "minor": -1, "access": "r"},
        {"allow": True, "type": "a", "major": -1, "minor": -1, "access": "rwm"},
    ]


@pytest.mark.parametrize("rule", ["c 1 r", "x 1:1 r", "c 1:1 q", "c 1:1", "", "c 1:1 rwmr"])
def test_a_rule_that_can_not_be_read_is_refused(rule):
    with pytest.raises(BadRequestError, match="invalid device cgroup rule format"):
        resources({"DeviceCgroupRules": [rule]})


def test_block_io_limits_need_a_block_device():
    with pytest.raises(BadRequestError, match="/dev/null is not a block device"):
        resources({"BlkioDeviceReadBps": [{"Path": "/dev/null", "Rate": 1}]})
    with pytest.raises(BadRequestError, match="stat /dev/none-such: no such file"):
        resources({"BlkioDeviceReadBps": [{"Path": "/dev/none-such", "Rate": 1}]})
