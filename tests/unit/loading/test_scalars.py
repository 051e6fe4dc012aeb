"""What plain and tagged scalars stand for: every rule of go-yaml's resolver, one line each."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.loading.scalars import Timestamp, resolve, tagged


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("Null", None),
        ("nULL", "nULL"),
        ("true", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        # truth values of YAML 1.1 are texts
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("Off", "Off"),
        ("y", "y"),
        ("0", 0),
        ("-5", -5),
        ("+5", 5),
        ("0777", 511),
        ("-0777", -511),
        ("0o17", 15),
        ("0O17", 15),
        ("0x1F", 31),
        ("-0xa", -10),
        ("0b11", 3),
        ("0b2", "0b2"),
        ("0x", "0x"),
        ("1_000", 1000),
        ("1__0_", 10),
        ("_1", "_1"),
        # no octal, so a decimal fraction
        ("08", 8.0),
        ("-08", -8.0),
        ("1.", 1.0),
        (".5", 0.5),
        (".5e1", 5.0),
        ("1e3", 1000.0),
        ("1e", "1e"),
        ("1e999", "1e999"),
        (".", "."),
        ("-", "-"),
        ("+", "+"),
        ("...", "..."),
        ("18446744073709551615", (1 << 64) - 1),
        ("18446744073709551616", float(1 << 64)),
        ("-9223372036854775808", -(1 << 63)),
        ("-9223372036854775809", -float(1 << 63)),
        ("9" * 400, "9" * 400),
        # base 60 is no number
        ("1:30", "1:30"),
        ("22:22", "22:22"),
        ("1.2.3", "1.2.3"),
        ("12abc", "12abc"),
        ("2024-13-01", "2024-13-01"),
        ("24-01-01", "24-01-01"),
        ("2024-01-01T10:00:00", "2024-01-01T10:00:00"),
        ("2024-01-01 10:00:00Z", "2024-01-01 10:00:00Z"),
    ],
)
def test_a_plain_scalar_is_what_the_reference_takes_it_for(text, value):
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


def test_infinities_and_no_number_have_their_words():
    assert [resolve(text) for text in (".inf", "+.INF", "-.Inf")] == [math.inf, math.inf, -math.inf]
    assert math.isnan(resolve(".NaN"))
    assert resolve("inf") == "inf"


@pytest.mark.parametrize(
    ("text", "rfc3339"),
    [
        ("2024-01-02", "2024-01-02T00:00:00Z"),
        ("2024-1-2", "2024-01-02T00:00:00Z"),
        ("2024-01-02 3:4:5.500", "2024-01-02T03:04:05.5Z"),
        ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"),
        ("2024-01-02t03:04:05+01:00", "2024-01-02T03:04:05+01:00"),
    ],
)
def test_a_date_is_no_text(text, rfc3339):
    assert resolve(text) == Timestamp(text, rfc3339)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("str", "5", "5"),
        ("str", "", ""),
        ("int", "5", 5),
        ("float", "5", 5.0),
        ("bool", "true", True),
        ("null", "", None),
        ("binary", "YWJj", "abc"),
        ("binary", "YW\n  Jj", "abc"),
        ("timestamp", "2024-01-02", Timestamp("2024-01-02", "2024-01-02T00:00:00Z")),
        ("odd", "5", "5"),
    ],
)
def test_a_tag_decides(kind, text, value):
    assert tagged(kind, text) == value


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        ("int", "x", "not of type int"),
        ("int", "5.5", "not of type int"),
        ("bool", "yes", "not of type bool"),
        ("bool", "1", "not of type bool"),
        ("float", "true", "not of type float"),
        ("null", "x", "not of type null"),
        ("binary", "YWJ", "padding"),
        ("binary", "!", "base64"),
        ("binary", "//79", "utf-8"),
    ],
)
def test_what_a_tag_does_not_fit_is_refused(kind, text, problem):
    with pytest.raises(ValueError, match=problem):
        tagged(kind, text)


@given(st.text("0123456789+-._xobeEaTZ:~ ", max_size=30) | st.text(max_size=10))
def test_every_text_stands_for_something(text):
    value = resolve(text)
    assert value is None or isinstance(value, bool | int | float | str | Timestamp)
