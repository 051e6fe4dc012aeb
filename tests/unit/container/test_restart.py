import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.container.restart import FIRST_DELAY_S, LONGEST_DELAY_S, STEADY_S, RestartPolicy, next_delay


@pytest.mark.parametrize(
    ("policy", "exit_code", "restarts"),
    [
        (RestartPolicy("no"), 1, False),
        (RestartPolicy(), 0, False),
        (RestartPolicy("always"), 0, True),
        (RestartPolicy("always"), 1, True),
        (RestartPolicy("unless-stopped"), 0, True),
        (RestartPolicy("on-failure"), 0, False),
        (RestartPolicy("on-failure"), 137, True),
    ],
)
def test_who_is_started_again_after_an_end(policy, exit_code, restarts):
    assert policy.restarts(exit_code, 0, stopped_by_user=False) is restarts


@given(st.sampled_from(["no", "always", "unless-stopped", "on-failure"]), st.integers(0, 255), st.integers(0, 9))
def test_who_was_stopped_by_hand_stays_stopped(name, exit_code, count):
    assert not RestartPolicy(name).restarts(exit_code, count, stopped_by_user=True)


@given(st.integers(1, 20))
def test_on_failure_gives_up_after_its_maximum(maximum):
    policy = RestartPolicy("on-failure", maximum)
    assert [policy.restarts(1, count, False) for count in range(maximum + 2)] == [True] * maximum + [False, False]


def test_who_starts_with_the_engine():
    assert RestartPolicy("always").starts_with_engine(stopped_by_user=True)
    assert RestartPolicy("unless-stopped").starts_with_engine(stopped_by_user=False)
    assert not RestartPolicy("unless-stopped").starts_with_engine(stopped_by_user=True)
    assert not RestartPolicy("on-failure").starts_with_engine(stopped_by_user=False)
    assert not RestartPolicy("no").starts_with_engine(stopped_by_user=False)


def test_the_delay_doubles_from_a_tenth_of_a_second_to_a_minute():
    delays, delay = [], 0.0
    for _ in range(12):
        delay = next_delay(delay, 1)
        delays.append(delay)
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60, 60]


@given(st.floats(0, LONGEST_DELAY_S), st.floats(STEADY_S, 1e9))
def test_a_steady_run_begins_the_delays_again(last, ran_for_s):
    assert next_delay(last, ran_for_s) == FIRST_DELAY_S
