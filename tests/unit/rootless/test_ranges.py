"""Maps of users from the files of subordinate IDs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.rootless.ranges import Extent, arguments, extents

NAME, OWN = "ada", 1000
RANGES = st.lists(st.tuples(st.integers(0, 1 << 31), st.integers(1, 1 << 20)), max_size=8)


def lines(ranges, name=NAME):
    return [f"{name}:{first}:{count}" for first, count in ranges]


@given(RANGES, RANGES)
def test_root_is_the_user_and_all_ranges_follow_without_a_gap(own, others):
    text = "\n".join([*lines(others, "eve"), *lines(own)])
    rows = extents(OWN, text, (NAME, str(OWN)))
    assert rows[0] == Extent(0, OWN, 1)
    assert [row.inside for row in rows] == [sum(before.count for before in rows[:at]) for at in range(len(rows))]
    assert [(row.outside, row.count) for row in rows[1:]] == own


@given(RANGES)
def test_a_range_may_be_given_to_the_user_s_number(ranges):
    assert extents(OWN, "\n".join(lines(ranges, str(OWN))), (NAME, str(OWN))) == extents(
        OWN, "\n".join(lines(ranges)), (NAME, str(OWN))
    )


@pytest.mark.parametrize("line", ["", "ada", "ada:1", "ada:1:2:3", "ada:x:2", "ada:1:-2", "ada:1:0", "# ada:1:2"])
def test_what_is_no_range_is_passed_over(line):
    assert extents(OWN, f"{line}\nada:7:3\n", (NAME,)) == (Extent(0, OWN, 1), Extent(1, 7, 3))


def test_rows_are_formatted_for_newuidmap():
    assert arguments((Extent(0, 1000, 1), Extent(1, 100000, 65536))) == ["0", "1000", "1", "1", "100000", "65536"]


@given(st.text())
def test_no_text_is_too_odd(text):
    assert extents(OWN, text, (NAME,))[0] == Extent(0, OWN, 1)
