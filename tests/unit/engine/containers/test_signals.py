import os
import pty
import signal

import pytest

from runtime.engine.containers.signals import resize_console, signal_number
from runtime.errors import BadRequestError


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("SIGTERM", 15),
        ("term", 15),
        ("9", 9),
        ("RTMIN+3", signal.SIGRTMIN + 3),
        ("SIGRTMAX-1", signal.SIGRTMAX - 1),
        ("SIGRTMIN", signal.SIGRTMIN),
    ],
)
def test_signals_have_names_and_numbers(name, number):
    assert signal_number(name) == number


@pytest.mark.parametrize("name", ["", "SIG", "0", "99", "-9", "SIGNONE", "RTMIN+99", "RTMIN+x", "²"])
def test_what_is_no_signal_is_refused(name):
    with pytest.raises(BadRequestError, match="signal"):
        signal_number(name)


def test_a_terminal_takes_a_size_and_refuses_one_that_cannot_be():
    ours, theirs = pty.openpty()
    try:
        resize_console(ours, 33, 99)
        assert os.get_terminal_size(theirs) == (99, 33)
        with pytest.raises(BadRequestError, match="invalid terminal size"):
            resize_console(ours, 70000, 1)
    finally:
        os.close(ours)
        os.close(theirs)
