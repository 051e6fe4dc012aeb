import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.logs.filtering import LineFilter
from compose.logs.levels import LEVELS, rank_of
from runtime.errors import SkiffError


@pytest.mark.parametrize(
    ("line", "level"),
    [
        (b'{"time":"x","level":"error","msg":"info"}', "error"),
        (b'{"level":30,"msg":"an error"}', "info"),
        (b'{"severity": "WARNING"}', "warn"),
        (b"time=x level=warn msg=error", "warn"),
        (b"2030-01-31 12:00:00,123 INFO  [main] no error", "info"),
        (b"2030/01/31 12:00:00 [error] 12#0: *1 open() failed", "error"),
        (b"2030-01-31 12:00:00.1 UTC [64] FATAL:  role does not exist", "fatal"),
        (b"2030-01-31 12:00:00.1 UTC [64] LOG:  ready", "info"),
        (b"ERROR:root:x", "error"),
        (b"npm ERR! code 1", "error"),
        (b"warn: x", "warn"),
        (b"2030-01-31T12:00:00Z\tdebug\tx", "debug"),
        (b"E0131 12:00:00.1 1 a.go:1] x", "error"),
        (b"<4>x", "warn"),
        (b"ValueError: x", "error"),
        (b"no error was found", None),
        (b"GET /error HTTP/1.1", None),
        (b"", None),
    ],
)
def test_a_line_says_its_level_as_loggers_write_it(line, level):
    found = rank_of(line)
    assert (None if found is None else LEVELS[found]) == level


def test_what_belongs_to_a_line_is_shown_with_it_across_blocks():
    severe = LineFilter(level="error")
    text = b"INFO a\n  of a\nERROR b\n  of b\n\tof b\nCaused by: c\nplain\n  of plain\nWARN d\nERROR e\n"
    assert severe.keep(text) == b"ERROR b\n  of b\n\tof b\nCaused by: c\nERROR e\n"
    assert severe.keep(b"  of e\nplain\n") == b"  of e\n"
    assert severe.keep(b"  of plain\n") == b""
    assert severe.keep(b"  of another\n", "other") == b""


@pytest.mark.parametrize(
    "line", [b'{"level":50}', b'{"level": 60}', b'{"Level":3}', b"<3>x", b"E0131 12:00:00.1 1 x", b"lvl=err"]
)
def test_a_level_is_found_among_many_lines_however_it_is_written(line):
    many = b'{"level":30,"msg":"x"}\n' * 50
    assert LineFilter(level="error").keep(many + line + b"\n" + many) == line + b"\n"


LINES = st.lists(
    st.sampled_from([b"a", b"b", b"ab", b" a", b"", b"ERROR a", b"INFO", b"  x", b"error: b"]), max_size=30
)


@given(LINES, st.sampled_from(["a", "^a", "a$", r"a\s*b", "[^a]", "^$", "b|E", r"\Aa", "(?i)error", "x*"]))
def test_a_block_is_filtered_as_its_lines_are(lines, pattern):
    text = b"".join(line + b"\n" for line in lines)
    wanted = [line for line in lines if re.search(pattern.encode(), line)]
    assert LineFilter([pattern]).keep(text) == b"".join(line + b"\n" for line in wanted)
    others = [line for line in lines if not re.search(pattern.encode(), line)]
    assert LineFilter(exclude=[pattern]).keep(text) == b"".join(line + b"\n" for line in others)


@given(LINES, st.integers(0, 30), st.sampled_from(["info", "error"]))
def test_where_a_block_is_cut_changes_no_level(lines, cut, level):
    text = b"".join(line + b"\n" for line in lines)
    head = b"".join(line + b"\n" for line in lines[:cut])
    pieces = LineFilter(level=level)
    assert pieces.keep(head) + pieces.keep(text[len(head) :]) == LineFilter(level=level).keep(text)


def test_several_patterns_are_alternatives_and_all_conditions_count():
    text = b"ERROR a\nERROR b\nINFO a\nERROR c\n"
    assert LineFilter(["a", "b"], ["b$"], "warn").keep(text) == b"ERROR a\n"


@pytest.mark.parametrize(
    ("options", "message"), [({"grep": ["("]}, "--grep: '\\('"), ({"level": "loud"}, "is no level")]
)
def test_what_is_no_filter_is_refused(options, message):
    with pytest.raises(SkiffError, match=message):
        LineFilter(**options)
