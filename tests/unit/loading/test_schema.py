"""Our evaluator of the Compose schema gives jsonschema's verdicts."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from compose.loading.validation import Schema
from tests.support.documents import ODD, alike

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


@given(alike(OURS.document, OURS.document))
def test_the_verdict_on_any_document_is_that_of_jsonschema(document):
    assert OURS.is_valid(document) == THEIRS.is_valid(document)


@pytest.mark.parametrize("attribute", sorted(OURS.document["$defs"]["service"]["properties"]))
@given(data=st.data())
@settings(max_examples=15)  # of each of a hundred attributes, which share most definitions
def test_the_verdict_on_an_attribute_is_that_of_jsonschema(attribute, data):
    value = data.draw(alike(OURS.document["$defs"]["service"]["properties"][attribute], OURS.document, 1))
    document = {"services": {"web": {attribute: value}}}
    assert OURS.is_valid(document) == THEIRS.is_valid(document)


def parts(node):
    """Yield every schema within a schema."""
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from parts(child)
    for child in node if isinstance(node, list) else ():
        yield from parts(child)


def test_an_editor_can_show_what_every_attribute_is():
    assert OURS.document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    properties = [(key, each) for part in parts(OURS.document) for key, each in part.get("properties", {}).items()]
    named = [*properties, *OURS.document["$defs"].items()]
    assert [key for key, each in named if isinstance(each, dict) and not each.get("description")] == []
    assert len(named) > 300


def test_the_sample_names_the_schema_for_the_editor():
    sample = Path(__file__).resolve().parents[3] / "samples/webstack/compose.yaml"
    first = sample.read_text().partition("\n")[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert json.loads((sample.parent / first.partition("=")[2]).read_text()) == OURS.document
    assert THEIRS.is_valid(yaml.safe_load(sample.read_text()))


@pytest.mark.parametrize("section", ["services", "networks", "volumes", "configs", "secrets"])
def test_unknown_keys_are_refused_alike(section):
    document = copy.deepcopy(DOCUMENT)
    document.setdefault(section, {})["odd"] = {"image": "x", "no_such_key": 1}
    assert not OURS.is_valid(document)
    assert not THEIRS.is_valid(document)
