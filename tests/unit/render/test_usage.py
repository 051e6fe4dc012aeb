from hypothesis import given
from hypothesis import strategies as st

from compose.render.usage import COLUMNS, usage_row

DOCUMENT = {
    "cpu_stats": {"cpu_usage": {"total_usage": 3_000}, "system_cpu_usage": 20_000, "online_cpus": 2},
    "precpu_stats": {"cpu_usage": {"total_usage": 1_000}, "system_cpu_usage": 10_000},
    "memory_stats": {"usage": 3 << 20, "limit": 10 << 20, "stats": {"inactive_file": 1 << 20}},
    "networks": {"eth0": {"rx_bytes": 1500, "tx_bytes": 20}},
    "blkio_stats": {"io_service_bytes_recursive": [{"op": "read", "value": 4096}, {"op": "Write", "value": 1}]},
    "pids_stats": {"current": 3},
}


def test_the_numbers_are_those_that_docker_stats_shows():
    assert usage_row("abc", "web", DOCUMENT) == {
        "BlockIO": "4.1kB / 1B",
        "CPUPerc": "40.00%",
        "Container": "abc",
        "ID": "abc",
        "MemPerc": "20.00%",
        "MemUsage": "2MiB / 10MiB",
        "Name": "web",
        "NetIO": "1.5kB / 20B",
        "PIDs": "3",
    }


@given(st.dictionaries(st.sampled_from(sorted(DOCUMENT)), st.none() | st.just({})))
def test_a_container_without_numbers_uses_nothing(document):
    row = usage_row("abc", "web", document)
    assert row["CPUPerc"] == "0.00%"
    assert set(key for _, key in COLUMNS) <= set(row)
