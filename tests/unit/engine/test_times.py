from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.engine.times import go_duration, moment, parse_rfc3339, rfc3339
from runtime.errors import BadRequestError

NOW = 1_700_000_000_000_000_000


@given(st.integers(0, 4_000_000_000_000_000_000))
def test_a_time_comes_back_to_the_nanosecond(time_ns):
    assert parse_rfc3339(rfc3339(time_ns)) == time_ns


def test_docker_never_is_the_beginning_of_time():
    assert parse_rfc3339("0001-01-01T00:00:00Z") == 0


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("1136073845", 1136073845 * 10**9),
        ("1136073845.5", 1136073845_500_000_000),
        ("2006-01-02T15:04:05Z", 1136214245 * 10**9),
        ("2006-01-02T15:04:05.000000001+01:00", 1136210645_000_000_001),
        ("2006-01-02T15:04", 1136214240 * 10**9),
        ("2006-01-02", 1136160000 * 10**9),
        ("1m30s", NOW - 90 * 10**9),
        ("24h", NOW - 86400 * 10**9),
        ("1.5s", NOW - 1_500_000_000),
    ],
)
def test_times_are_read_as_docker_reads_them(text, time_ns):
    assert moment(text, NOW) == time_ns


@given(st.text(max_size=30))
def test_no_text_raises_anything_but_a_bad_request(text):
    with suppress(BadRequestError):
        moment(text, NOW)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (1, "1s"), (1.5, "1.5s"), (0.25, "250ms"), (90, "1m30s"), (3600, "1h0m0s"), (0.0015, "1.5ms")],
)
def test_durations_are_written_as_go_writes_them(seconds, text):
    assert go_duration(seconds) == text
