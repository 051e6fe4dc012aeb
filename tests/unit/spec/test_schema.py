"""Our evaluator of the Compose schema gives jsonschema's verdicts."""

import copy

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.spec.validation import Schema

OURS = Schema.compose()
THEIRS = jsonschema.validators.validator_for(OURS.document)(OURS.document)

DOCUMENT = {
    "name": "demo",
    "services": {
        "web": {
            "image": "nginx",
            "build": {"context": ".", "args": {"A": "1"}},
            "ports": ["80:80", {"target": 80, "published": "8080"}],
            "environment": {"A": 1, "B": None},
            "depends_on": {"db": {"condition": "service_healthy"}},
            "healthcheck": {"test": ["CMD", "true"], "interval": "1s", "retries": 3},
            "deploy": {"replicas": 2, "resources": {"limits": {"memory": "64M"}}},
            "volumes": ["a:/b", {"type": "bind", "source": ".", "target": "/c"}],
            "networks": {"default": {"aliases": ["x"]}},
        },
        "db": {"image": "postgres"},
    },
    "networks": {"default": {"driver": "bridge"}},
    "volumes": {"a": None},
    "x-mine": [1, 2],
}

ODD = st.one_of(st.none(), st.booleans(), st.integers(-2, 3), st.text(max_size=5), st.lists(st.integers(), max_size=2))


def paths(node, path=()):
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in items:
        yield from paths(child, (*path, key))


def replaced(path, value):
    document = copy.deepcopy(DOCUMENT)
    if not path:
        return value
    node = document
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return document


def test_the_schema_is_a_schema():
    jsonschema.validators.validator_for(OURS.document).check_schema(OURS.document)


def test_an_honest_document_is_valid():
    assert OURS.is_valid(DOCUMENT)
    assert THEIRS.is_valid(DOCUMENT)


@given(st.sampled_from(list(paths(DOCUMENT))), ODD)
def test_the_verdict_is_that_of_jsonschema(path, value):
    document = replaced(path, value)
    assert OURS.is_valid(document) == THEIRS.is_valid(document)


@pytest.mark.parametrize("section", ["services", "networks", "volumes", "configs", "secrets"])
def test_unknown_keys_are_refused_alike(section):
    document = copy.deepcopy(DOCUMENT)
    document.setdefault(section, {})["odd"] = {"image": "x", "no_such_key": 1}
    assert not OURS.is_valid(document)
    assert not THEIRS.is_valid(document)
