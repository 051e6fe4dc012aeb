import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.engine.filters import check_known, flag, labels_match, may_be_pruned, parse
from runtime.errors import BadRequestError

FILTERS = st.dictionaries(st.text(max_size=5), st.lists(st.text(max_size=5), unique=True, max_size=3), max_size=3)


@given(FILTERS)
def test_both_ways_to_write_filters_are_read_alike(filters):
    older = {key: dict.fromkeys(values, True) for key, values in filters.items()}
    assert parse(json.dumps(filters)) == parse(json.dumps(older)) == filters


@given(st.text(max_size=20) | st.recursive(st.integers() | st.text(max_size=3), st.lists, max_leaves=4).map(json.dumps))
def test_what_is_no_filters_is_a_bad_request(text):
    try:
        found = parse(text)
    except BadRequestError:
        return
    assert isinstance(found, dict)


def test_a_value_that_is_switched_off_is_none():
    assert parse('{"label": {"a": true, "b": false}}') == {"label": ["a"]}


def test_an_unknown_filter_is_named():
    with pytest.raises(BadRequestError, match="invalid filter 'colour'"):
        check_known({"colour": ["red"]}, ("label",))


def test_labels_match_by_key_or_by_key_and_value():
    labels = {"a": "1", "b": "", "c": "x=y"}
    assert labels_match(labels, ["a", "a=1", "b", "b=", "c=x=y"])
    assert not labels_match(labels, ["a=2"])
    assert not labels_match(labels, ["d"])


def test_flags():
    assert [flag("dangling", [value]) for value in ("true", "1", "false", "0")] == [True, True, False, False]
    with pytest.raises(BadRequestError, match="invalid filter 'dangling=\\[maybe\\]'"):
        flag("dangling", ["maybe"])


def test_a_prune_spares_what_its_filters_do_not_name():
    labels, made, now = {"keep": "no"}, 100 * 10**9, 1000 * 10**9
    assert may_be_pruned({}, labels, made, now)
    assert may_be_pruned({"label": ["keep=no"]}, labels, made, now)
    assert not may_be_pruned({"label": ["other"]}, labels, made, now)
    assert not may_be_pruned({"label!": ["keep"]}, labels, made, now)
    assert may_be_pruned({"label!": ["keep=yes"]}, labels, made, now)
    assert may_be_pruned({"until": ["10m"]}, labels, made, now)
    assert not may_be_pruned({"until": ["20m"]}, labels, made, now)
