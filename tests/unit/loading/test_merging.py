"""Merging and interpolating any trees, whatever is in them: nothing is raised but what is meant to be."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.loading.merging import MergeError, interpolate, merge, reset, unify
from compose.loading.validation import schema_text

SERVICE = sorted(json.loads(schema_text())["$defs"]["service"]["properties"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 70000),
    st.floats(),
    st.text("a/:=$.{}-5", max_size=6),
    st.sampled_from(["80:80", "a=b"]),
)
KEYS = st.sampled_from(
    ["target", "source", "path", "driver", "subnet", "config", "options", "labels", "args", "test", "x-a", "a", "b.c"]
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)
MODELS = st.builds(
    lambda service, build, network: {"services": {"web": {**service, "build": build}}, "networks": {"n": network}},
    st.dictionaries(st.sampled_from(SERVICE), TREES, max_size=4),
    st.one_of(st.just("."), st.dictionaries(KEYS, TREES, max_size=3)),
    st.dictionaries(st.sampled_from(["labels", "ipam", "driver"]), TREES, max_size=3),
)


@given(MODELS, MODELS)
def test_any_model_can_be_merged_with_any_other_or_it_is_reported_where_not(base, over):
    before = copy.deepcopy((base, over))
    try:
        merged = unify(merge(base, over))
    except MergeError as error:
        merged = {"services": {}, "told": str(error.path)}
    assert isinstance(merged["services"], dict)
    assert repr((base, over)) == repr(before)


@given(MODELS)
def test_nothing_changes_a_model_and_a_model_merged_with_nothing_stays_as_it_is(model):
    assert repr(merge(model, {})) == repr(model)
    assert repr(merge({}, model)) == repr(model)


@given(MODELS)
def test_to_drop_doubles_twice_is_to_drop_them_once(model):
    once = unify(copy.deepcopy(model))
    assert repr(unify(copy.deepcopy(once))) == repr(once)


@given(MODELS, st.lists(st.lists(st.sampled_from(["services", "web", "build", *SERVICE]), min_size=1, max_size=4)))
def test_what_is_reset_is_gone(model, paths):
    reset(model, [tuple(path) for path in paths])
    for *path, last in paths:
        node = model
        for step in path:
            node = node.get(step) if isinstance(node, dict) else None
        assert not isinstance(node, dict) or last not in node


@given(MODELS)
def test_variables_of_any_model_are_replaced_or_reported_with_their_path(model):
    told = []
    noted = []
    found = interpolate(
        model, {"a": "x"}.get, lambda message, path: told.append(path), lambda mention, path: noted.append(path)
    )
    assert set(found) == set(model)
    for path in told + noted:
        node = model
        for step in path:
            node = node[step]
        assert isinstance(node, str)


CAST = [
    (("privileged",), "yes", True),
    (("privileged",), "${NO:-off}", False),
    (("init",), "TRUE", True),
    (("tty",), "n", False),
    (("scale",), "3", 3),
    (("cpus",), "0.5", 0.5),
    (("cpu_percent",), "50", 50.0),
    (("pids_limit",), "-1", -1),
    (("oom_score_adj",), "+5", 5),
    (("deploy", "replicas"), "$a", 7),
    (("deploy", "update_config", "max_failure_ratio"), "0.1", 0.1),
    (("healthcheck", "retries"), "3", 3),
    (("healthcheck", "disable"), "on", True),
    (("ulimits", "nofile"), "5", 5),
    (("ulimits", "nofile", "soft"), "5", 5),
    # what is no place of a number stays a text
    (("mem_limit",), "5", "5"),
    (("labels", "scale"), "3", "3"),
    (("image",), "true", "true"),
    (("stop_grace_period",), "5", "5"),
]


def tree(path, value):
    for step in reversed(path):
        value = {step: value}
    return {"services": {"web": value}}


@pytest.mark.parametrize(("path", "text", "value"), CAST)
def test_texts_become_what_their_place_wants(path, text, value):
    told = []
    found = interpolate(tree(path, text), {"a": "7"}.get, lambda *each: told.append(each), lambda *each: None)
    assert (found, told) == (tree(path, value), [])


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("privileged",), ""),
        (("privileged",), "1"),
        (("scale",), "1.5"),
        (("scale",), "0x5"),
        (("cpus",), "many"),
        (("ulimits", "n"), ""),
    ],
)
def test_texts_that_their_place_can_not_take_are_reported(path, text):
    told = []
    interpolate(tree(path, text), {}.get, lambda message, path: told.append(path), lambda *each: None)
    assert told == [("services", "web", *path)]


def test_extensions_are_merged_like_anything_else():
    base = {"x-env": {"A": 1, "B": 2}, "x-list": ["one"], "services": {"s": {"x-own": {"a": [1]}}}}
    over = {"x-env": {"B": 3}, "x-list": ["two"], "services": {"s": {"x-own": {"a": [2]}}}}
    assert merge(base, over) == {
        "x-env": {"A": 1, "B": 3},
        "x-list": ["one", "two"],
        "services": {"s": {"x-own": {"a": [1, 2]}}},
    }
