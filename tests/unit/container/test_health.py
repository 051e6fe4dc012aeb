import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.container.health import (
    HEALTHY,
    KEPT_OUTPUT,
    KEPT_PROBES,
    NS,
    STARTING,
    UNHEALTHY,
    Health,
    HealthCheck,
    ProbeOutput,
)


def probe(exit_code):
    return {"ExitCode": exit_code, "Output": "", "Start": "", "End": ""}


def after(check, *probes):
    """The health after probes, each an exit code and the seconds since the start at which it began."""
    health = Health()
    for exit_code, age_s in probes:
        health = health.after(check, probe(exit_code), age_s)
    return health


def test_defaults_are_dockers():
    check = HealthCheck.of({"Test": ["CMD", "true"]})
    assert (check.interval_s, check.timeout_s, check.retries, check.start_period_s, check.start_interval_s) == (
        30,
        30,
        3,
        0,
        5,
    )


@pytest.mark.parametrize(
    "config", [None, {}, {"Test": []}, {"Test": ["NONE"]}, {"Test": ["CMD"]}, {"Test": ["ELSE", "x"]}]
)
def test_there_is_no_check_without_a_test_that_is_known(config):
    assert HealthCheck.of(config) is None


def test_shell_form_runs_in_the_images_shell():
    config = {"Test": ["CMD-SHELL", "exit 0"], "Interval": NS // 2}
    check = HealthCheck.of(config, ("/bin/bash", "-c"))
    assert (check.test, check.interval_s) == (("/bin/bash", "-c", "exit 0"), 0.5)


def test_as_many_failures_in_a_row_as_retries_make_unhealthy():
    check = HealthCheck(("x",), retries=3)
    assert after(check, (1, 1), (1, 2)).status == STARTING
    assert after(check, (1, 1), (1, 2), (1, 3)).status == UNHEALTHY
    assert after(check, (1, 1), (1, 2), (0, 3), (1, 4), (1, 5)).status == HEALTHY


def test_one_success_makes_healthy_again():
    check = HealthCheck(("x",), retries=1)
    health = after(check, (1, 1), (0, 2))
    assert (health.status, health.failing_streak) == (HEALTHY, 0)


def test_of_a_probe_right_at_the_start_only_success_is_reported():
    assert Health().after_early(probe(1)) == Health()
    assert Health().after_early(probe(0)) == Health(HEALTHY, 0, (probe(0),))


def test_failures_of_probes_begun_in_the_start_period_do_not_count():
    check = HealthCheck(("x",), retries=1, start_period_s=10)
    assert after(check, (1, 1), (1, 9.9)) == Health(STARTING, 0, (probe(1), probe(1)))
    assert after(check, (1, 1), (1, 10)).status == UNHEALTHY


def test_a_success_ends_the_start_period():
    check = HealthCheck(("x",), retries=1, start_period_s=100)
    assert after(check, (0, 1), (1, 2)).status == UNHEALTHY


def test_probes_come_at_the_start_interval_until_the_first_verdict_or_the_end_of_the_start_period():
    check = HealthCheck(("x",), interval_s=30, start_period_s=20, start_interval_s=2)
    assert Health().pause_s(check, 5) == 2
    assert Health().pause_s(check, 20) == 30
    assert Health(HEALTHY).pause_s(check, 5) == 30


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 100)), max_size=30), st.integers(1, 5), st.floats(0, 50))
def test_the_verdict_follows_from_the_last_probes_alone(probes, retries, start_period_s):
    check = HealthCheck(("x",), retries=retries, start_period_s=start_period_s)
    health = Health()
    for exit_code, age_s in probes:
        before, health = health, health.after(check, probe(exit_code), age_s)
        assert len(health.log) <= KEPT_PROBES
        assert health.log[-1] == probe(exit_code)
        assert (health.status == HEALTHY) == (
            exit_code == 0 or (before.status == HEALTHY and health.status != UNHEALTHY)
        )
        assert health.status != UNHEALTHY or health.failing_streak >= retries
        assert health.failing_streak <= before.failing_streak + 1


@given(st.lists(st.binary(max_size=3000), max_size=6))
def test_the_beginning_of_the_output_is_kept_and_what_is_missing_marked(pieces):
    output = ProbeOutput()
    for piece in pieces:
        output.take(piece)
    whole = b"".join(pieces)
    expected = whole[:KEPT_OUTPUT].decode(errors="replace")
    assert str(output) == (expected + "..." if len(whole) > KEPT_OUTPUT else expected)
