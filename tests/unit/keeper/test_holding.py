"""The descriptors of a process, which the engine and the keeper's client hold together."""

import os
from dataclasses import replace

from runtime.keeper.handles import ProcessHandle


def process():
    reading, writing = os.pipe()
    return ProcessHandle("id", "id", 1, reading, {"stdout": writing}, None, 0, None)


def is_open(descriptor):
    return os.path.lexists(f"/proc/self/fd/{descriptor}")


def test_descriptors_are_open_until_the_last_that_holds_them_lets_go():
    one = process()
    held = one.share()
    assert (held.pidfd, held.fds) == (one.pidfd, one.fds)  # no duplicates
    one.close()
    assert is_open(one.pidfd)
    replace(held, started_at_ns=1).close()
    assert not is_open(one.pidfd)
    assert not is_open(one.fds["stdout"])


def test_who_lets_go_twice_closes_nothing_that_others_opened_since():
    one = process()
    one.close()
    others = os.pipe()
    assert set(others) == {one.pidfd, one.fds["stdout"]}
    one.close()
    assert all(map(is_open, others))
    for end in others:
        os.close(end)
