"""What stands on a command line or in a field as text: numbers, sizes, times, signals, CPUs, IDs."""

import contextlib
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.oci.program import arguments, ending, scheduling, store
from runtime.oci.program.errors import ProgramError


@given(st.sets(st.integers(0, 200), min_size=1))
def test_a_list_of_cpus_is_what_it_says(numbers):
    text, run = [], []
    for number in [*sorted(numbers), None]:
        if run and number != run[-1] + 1:
            text.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
            run = []
        if number is not None:
            run.append(number)
    assert scheduling.cpus(",".join(text)) == numbers


@given(st.text(max_size=6))
def test_any_text_is_a_list_of_cpus_or_none(text):
    with contextlib.suppress(ValueError):
        assert all(number >= 0 for number in scheduling.cpus(text))


@given(st.sampled_from(sorted(signal.Signals)))
def test_a_signal_has_its_names_and_its_number(one):
    for text in (one.name, one.name.lower(), one.name.removeprefix("SIG"), str(int(one))):
        assert ending.signal_number(text) == one


@given(st.text(max_size=8))
def test_any_text_is_a_signal_or_refused(text):
    with contextlib.suppress(ProgramError):
        assert 0 <= ending.signal_number(text) <= 64


@given(st.text(max_size=12))
def test_an_id_is_one_name_in_one_directory(text):
    with contextlib.suppress(ProgramError):
        store.check_id(text)
        assert text not in ("", ".", "..")
        assert "/" not in text
        assert "\0" not in text
        assert not text.startswith(store.UNNAMED)


COMMANDS = sorted(arguments.COMMANDS)


@given(
    st.lists(
        st.one_of(
            st.sampled_from([*COMMANDS, "-h", "--root", "--bundle", "-d", "x", "--", "--all"]), st.text(max_size=5)
        )
    )
)
def test_any_command_line_is_understood_or_refused(words):
    with contextlib.suppress(ProgramError):
        assert arguments.parse([word for word in words if word not in ("-h", "--help")])


def test_options_end_where_the_process_of_exec_begins():
    found = arguments.parse(["--root", "/r", "exec", "-t", "-e", "A=1", "--env", "B=2", "id", "ls", "-t", "--env", "x"])
    assert (found.root, found.tty, found.env, found.id) == ("/r", True, ["A=1", "B=2"], "id")
    assert found.arguments == ["ls", "-t", "--env", "x"]


@pytest.mark.parametrize(
    ("text", "number"),
    [("1048576", 1 << 20), ("64m", 64 << 20), ("1G", 1 << 30), ("5k", 5 << 10), ("-1", -1), ("7b", 7)],
)
def test_sizes_have_units(text, number):
    assert arguments.parse(["update", f"--memory={text}", "id"]).memory == number


@pytest.mark.parametrize(("text", "seconds"), [("5s", 5), ("250ms", 0.25), ("2m", 120), ("1h", 3600), ("3", 3)])
def test_times_have_units(text, seconds):
    assert arguments.parse(["events", "--interval", text, "id"]).interval == seconds
