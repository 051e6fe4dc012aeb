"""Durations, sizes, command lines, ports and mounts: each value that a user may write, and its way back."""

import contextlib
import math
import shlex
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose import units
from compose.loading import values

SIGNED = st.integers(-(1 << 63) + 1, (1 << 63) - 1)
ANYTHING = st.text("0123456789abdhkmnsuwµGiB.,:/-+ []'\"\\$()`;&|<>~é\0", max_size=16)
PARSERS = [units.duration_ns, units.size_bytes, values.shell_words, values.ports, values.mount, values.device]
PARSERS += [values.integer, values.number, values.boolean]


@given(SIGNED)
def test_a_duration_that_is_written_is_read_again(nanoseconds):
    assert units.duration_ns(units.duration_text(nanoseconds)) == pytest.approx(nanoseconds, abs=1)


@given(st.integers(0, 10**6), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_the_parts_of_a_duration_add_up(hours, minutes, seconds, milliseconds):
    total = ((hours * 60 + minutes) * 60 + seconds) * 10**9 + milliseconds * 10**6
    assert units.duration_ns(f"{hours}h{minutes}m{seconds}s{milliseconds}ms") == total


@given(st.integers(0, 1 << 40), st.sampled_from("kmgtp"), st.sampled_from(["", "b", "ib", "B", "iB"]), st.booleans())
def test_a_size_is_its_number_times_its_unit(number, unit, ending, has_blank):
    factor = 1024 ** ("kmgtp".index(unit) + 1)
    found = units.size_bytes(f"{number}{' ' if has_blank else ''}{unit}{ending}")
    assert found == pytest.approx(number * factor, rel=1e-15)


@given(SIGNED)
def test_a_number_is_a_size_as_it_stands(number):
    assert units.size_bytes(number) == number


@given(st.lists(st.text("abc XYZ-_./=#%@\"'\\é", max_size=8), max_size=5))
def test_words_that_a_shell_would_quote_come_back(words):
    assert values.shell_words(shlex.join(words)) == words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("echo hello && echo world", ["echo", "hello"]),
        ("run 2> /dev/null", ["run"]),
        ("a | b", ["a"]),
        ("a ; b", ["a"]),
        ("sh -c 'a && b'", ["sh", "-c", "a && b"]),
        ('sh -c "a && $X"', ["sh", "-c", "a && $X"]),
        ("a $(b c) d", ["a", "$(b c)", "d"]),
        ("a `b c`", ["a", "`b c`"]),
        ("a\\ b c", ["a b", "c"]),
        ("  a\t b\n", ["a", "b"]),
        ("a '' b", ["a", "", "b"]),
    ],
)
def test_a_command_line_is_split_as_the_reference_splits_it(line, words):
    assert values.shell_words(line) == words


@given(st.integers(1, 65000), st.integers(0, 65000), st.integers(0, 30), st.sampled_from(["tcp", "udp", "sctp"]))
def test_a_range_of_ports_is_each_of_them(target, published, more, protocol):
    found = values.ports(f"{published}-{published + more}:{target}-{target + more}/{protocol}")
    assert len(found) == more + 1
    assert {(port["target"], port["published"], port["protocol"]) for port in found} == {
        (target + number, str(published + number), protocol) for number in range(more + 1)
    }


NAMES = st.text("abcxyz019_.-", min_size=2, max_size=8).filter(lambda text: text[0] not in ".")


@given(NAMES, NAMES, st.booleans())
def test_a_volume_in_short_form_says_what_the_long_form_says(source, target, is_read_only):
    found = values.mount(f"{source}:/{target}{':ro' if is_read_only else ''}")
    expected = {"type": "volume", "source": source, "target": values.clean_target(f"/{target}"), "volume": {}}
    assert found == (expected | {"read_only": True} if is_read_only else expected)


@given(st.sampled_from(PARSERS), ANYTHING)
def test_whatever_a_text_is_it_is_read_or_refused(parse, text):
    with contextlib.suppress(ValueError):
        parse(text)


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_the_shortest_number_of_single_precision_is_the_same_number(number):
    assert struct.pack("f", values.single(number)) == struct.pack("f", number)


@given(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)))
def test_a_number_as_text_is_the_same_number(number):
    text = values.text_of(number)
    assert float(text) == pytest.approx(float(number), rel=1e-15) or math.isinf(float(number))
