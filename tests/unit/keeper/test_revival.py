"""When a lost engine is started again: at once, then ever later, in the end never."""

import os
import signal
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.keeper.restarter import PAUSES_S, STEADY_S, EngineRestarter

HELLO = {"restart": ["/bin/true"], "environment": {}}


def deaths(lives_s):
    """Return when an engine that lives for each of `lives_s` seconds is started again after each; None is never."""
    revival, now_s, found = EngineRestarter(), 1000.0, []
    for life_s in lives_s:
        revival.on_connected(HELLO, now_s)
        now_s += life_s
        revival.on_lost(now_s)
        found.append(None if revival.due_s is None else revival.due_s - now_s)
        now_s = revival.due_s or now_s
        revival.due_s = None
    return found


def test_an_engine_that_dies_at_once_is_started_ever_later_and_then_no_more(capfd):
    assert deaths([0.1] * 8) == [*PAUSES_S, None, None]
    assert "is started for the next client" in capfd.readouterr().err


def test_an_engine_that_was_there_for_long_is_started_at_once():
    assert deaths([STEADY_S + 1] * 10) == [0.0] * 10


def test_one_that_never_said_how_it_is_started_is_not():
    revival = EngineRestarter()
    revival.on_lost(1.0)
    assert not revival.is_pending


@given(st.lists(st.floats(0, 100), max_size=20))
def test_a_pause_is_never_longer_than_the_longest(lives_s):
    for pause_s in deaths(lives_s):
        assert pause_s is None or 0 <= round(pause_s, 3) <= max(PAUSES_S)


@pytest.mark.parametrize("is_serving", [True, False])
def test_a_second_engine_does_not_outlive_the_stop_of_the_one_that_serves(is_serving):
    revival = EngineRestarter()
    revival.on_connected({"restart": ["/bin/sleep", "600"], "environment": {}}, time.monotonic())
    revival.start(time.monotonic())
    revival.cancel(revival.pid if is_serving else os.getpid())
    if is_serving:
        assert os.waitpid(revival.pid, os.WNOHANG) == (0, 0)
        os.kill(revival.pid, signal.SIGTERM)
        assert os.waitpid(revival.pid, 0)[1] == signal.SIGTERM
    else:
        assert os.waitpid(revival.pid, 0)[1] == signal.SIGKILL
