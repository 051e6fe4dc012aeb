"""Children that do for the keeper what may have to wait."""

import os
import select
import signal
import time
from pathlib import Path

import pytest

from runtime.keeper.workers import Workers


def serve(workers, poll, until, within_s=20.0):
    """Do what a poll loop does with `workers`, until `until()` holds."""
    deadline_s = time.monotonic() + within_s
    while not until():
        assert time.monotonic() < deadline_s
        pause_s = min(workers.next_deadline_s, deadline_s) - time.monotonic()
        for descriptor, _ in poll.poll(max(0.0, pause_s)):
            workers.serve(descriptor)
        workers.end_late(time.monotonic())


def children():
    return {int(pid) for pid in Path("/proc/thread-self/children").read_text().split()}


@pytest.fixture
def poll():
    before = children()  # as a registry of other tests, which lives as long as they all
    with select.epoll() as made:
        yield made
    for pid in children() - before:
        os.waitpid(pid, 0)


def fail():
    raise PermissionError(1, "not allowed")


def test_each_result_comes_when_it_is_there(poll):
    workers, told = Workers(poll), {}
    gate, release = os.pipe()
    workers.start(lambda: os.read(gate, 1), lambda outcome: told.update(late=outcome), kept=[gate])
    workers.start(lambda: "x" * 300_000, lambda outcome: told.update(soon=outcome))
    workers.start(fail, lambda outcome: told.update(failed=outcome))
    serve(workers, poll, lambda: len(told) == 2)
    assert told == {
        "soon": {"result": "x" * 300_000},
        "failed": {"error": "not allowed", "errno": 1},
    }
    os.write(release, b"g")
    serve(workers, poll, lambda: not workers)
    assert told["late"] == {"result": b"g"}


def test_one_that_takes_too_long_is_killed_also_when_it_is_stopped(poll):
    workers, told = Workers(poll), []
    workers.start(lambda: os.kill(os.getpid(), signal.SIGSTOP), told.append, limit_s=0.2)
    serve(workers, poll, lambda: not workers)
    assert told == [{"error": "the task did not end in time", "errno": None}]


def test_one_that_is_killed_has_failed(poll):
    workers, told = Workers(poll), []
    workers.start(lambda: os.kill(os.getpid(), signal.SIGKILL), told.append)
    serve(workers, poll, lambda: not workers)
    assert told == [{"error": "the task's process was killed", "errno": None}]


def test_those_who_work_for_somebody_end_when_that_one_is_gone(poll):
    workers, told = Workers(poll), []
    owner = object()
    workers.start(signal.pause, told.append, owner=owner)
    gate, release = os.pipe()
    workers.start(lambda: os.read(gate, 1), told.append, kept=[gate])
    workers.drop(owner)
    assert told == [{"error": "the engine that asked for the task has exited", "errno": None}]
    os.write(release, b"g")
    serve(workers, poll, lambda: not workers)
    assert told[1:] == [{"result": b"g"}]
