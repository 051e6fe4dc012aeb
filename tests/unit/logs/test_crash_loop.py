import pytest

from compose.logs.crash_loop import CrashLoops
from compose.units import ordinal


def test_ends_are_counted_for_each_container_within_ten_minutes():
    times = iter([0.0, 1.0, 4.0, 12.4, 700.0])
    loops = CrashLoops(lambda: next(times))
    assert [loops.note("a"), loops.note("b"), loops.note("a"), loops.note("a")] == [
        "",
        "",
        "2nd time in 4 s",
        "3rd time in 12 s",
    ]
    assert loops.note("a") == ""


@pytest.mark.parametrize(
    ("number", "text"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (22, "22nd")]
)
def test_numbers_are_written_as_ordinals(number, text):
    assert ordinal(number) == text
