from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.logs.stamped import Lines, StampedLines, WholeLines, api_nanoseconds, moment, nanoseconds
from runtime.errors import SkiffError

TEXTS = st.binary(max_size=12).map(lambda text: text.replace(b"\n", b"n") + b"\n")
PIECES = st.lists(st.tuples(st.sampled_from([1, 2]), st.integers(0, 4), TEXTS), max_size=30)


def stamp(number):
    return b"2023-11-14T22:13:20.00000000%dZ" % number


def cut(data, cuts):
    """Return `data` in pieces that end at `cuts`."""
    places = sorted({0, len(data), *(at % (len(data) + 1) for at in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


@given(pieces=PIECES, cuts=st.lists(st.integers(0, 1000), max_size=6))
def test_lines_come_back_with_their_times_however_the_bytes_are_cut(pieces, cuts):
    decoder, found = StampedLines(), []
    for stream in (1, 2):
        data = b"".join(stamp(at) + b" " + text for of, at, text in pieces if of == stream)
        for part in cut(data, cuts):
            for lines in decoder.feed(stream, part):
                found += [(lines.stream, lines.stamp, line + b"\n") for line in lines.text.split(b"\n")[:-1]]
    assert found == [(of, stamp(at), text) for stream in (1, 2) for of, at, text in pieces if of == stream]
    assert decoder.rest() == []


def test_lines_of_the_same_time_come_together_and_can_be_stamped_again():
    data = b"".join(stamp(at) + b" %d\n" % n for n, at in enumerate([1] * 3000 + [2] + [3] * 2))
    found = list(StampedLines().feed(1, data))
    assert [(lines.stamp, lines.text.count(b"\n")) for lines in found] == [
        (stamp(1), 3000),
        (stamp(2), 1),
        (stamp(3), 2),
    ]
    assert b"".join(lines.stamped() for lines in found) == data


def test_a_line_without_an_end_is_the_rest():
    decoder = StampedLines()
    assert list(decoder.feed(1, stamp(1)[:9])) == []
    assert decoder.rest() == []
    assert list(decoder.feed(1, stamp(1)[9:] + b" half a")) == []
    assert decoder.rest() == [Lines(stamp(1), 1, b"half a\n")]
    assert list(decoder.feed(1, b" line\n")) == [Lines(stamp(1), 1, b"half a line\n")]
    assert decoder.rest() == []


def test_a_line_without_a_time_is_no_docker_engines():
    with pytest.raises(SkiffError, match="without its time"):
        list(StampedLines().feed(1, b"plain\n"))


def test_what_has_no_end_is_held_back_by_stream():
    lines = WholeLines()
    assert [lines.feed(1, b"a"), lines.feed(2, b"b\nc"), lines.feed(1, b"d\n")] == [b"", b"b\n", b"ad\n"]
    assert lines.rest() == [(2, b"c")]


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        (b"2023-11-14T22:13:20.000000042Z", 1_700_000_000_000_000_042),
        (b"2023-11-14T22:13:20Z", 1_700_000_000_000_000_000),
        (b"2023-11-14T23:13:20.5+01:00", 1_700_000_000_500_000_000),
        (b"2023-11-14T16:43:20.25-05:30", 1_700_000_000_250_000_000),
    ],
)
def test_times_of_any_engine_can_be_read(text, ns):
    assert nanoseconds(text) == ns
    assert api_nanoseconds(moment(ns)) == ns
